// SPDX-License-Identifier: GPL-2.0
/* Lists are inline in the kernel, their debugging with them. */
#include <linux/list.h>

void detectors_delete_twice(struct list_head *head, struct list_head *entry);

void detectors_delete_twice(struct list_head *head, struct list_head *entry)
{
	INIT_LIST_HEAD(head);
	list_add(entry, head);
	list_del(entry);
	list_del(entry);
}
