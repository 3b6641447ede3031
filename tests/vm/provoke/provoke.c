// SPDX-License-Identifier: GPL-2.0
/*
 * Breaks on purpose when it is loaded, so that tests/vm/selftest can see that a warning or an oops
 * in the guest's kernel does fail a run.
 */
#include <linux/bug.h>
#include <linux/module.h>

static char *what = "warn";
module_param(what, charp, 0);
MODULE_PARM_DESC(what, "warn, or oops");

static int __init provoke_init(void)
{
	if (!strcmp(what, "oops"))
		BUG();
	WARN(1, "provoked by tests/vm/selftest\n");
	return 0;
}

static void __exit provoke_exit(void)
{
}

module_init(provoke_init);
module_exit(provoke_exit);
MODULE_DESCRIPTION("Breaks on purpose");
MODULE_LICENSE("GPL");
