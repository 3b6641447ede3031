// SPDX-License-Identifier: MIT

//! What fio is asked to do.

/// A job, as fio knows it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Job {
    pub(crate) name: &'static str,
    /// Its options, without the dashes.
    pub(crate) options: &'static [&'static str],
    /// Bytes of a request.
    pub(crate) block: u64,
    /// Requests of the short run and of the long one, whose difference is counted; the same of a
    /// quick bench.
    pub(crate) requests: [u64; 2],
    pub(crate) quick: Option<[u64; 2]>,
}

/// In the order in which they are run.
pub(crate) const JOBS: &[Job] = &[
    Job {
        name: "randread-4k-qd64",
        options: &["rw=randread", "iodepth=64"],
        block: 4 << 10,
        requests: [2_000, 12_000],
        quick: Some([1_000, 5_000]),
    },
    Job {
        name: "randread-4k-qd1",
        options: &["rw=randread", "iodepth=1"],
        block: 4 << 10,
        requests: [2_000, 12_000],
        quick: Some([500, 2_500]),
    },
    Job {
        name: "randwrite-4k-qd64",
        options: &["rw=randwrite", "iodepth=64"],
        block: 4 << 10,
        requests: [2_000, 12_000],
        quick: Some([1_000, 5_000]),
    },
    Job {
        name: "read-128k-qd16",
        options: &["rw=read", "iodepth=16"],
        block: 128 << 10,
        requests: [500, 2_500],
        quick: Some([200, 1_000]),
    },
    Job {
        name: "randread-4k-qd64-batch16",
        options: &[
            "rw=randread",
            "iodepth=64",
            "iodepth_batch_submit=16",
            "iodepth_batch_complete_min=16",
        ],
        block: 4 << 10,
        requests: [2_000, 12_000],
        quick: Some([1_000, 5_000]),
    },
    Job {
        name: "randread-4k-qd8",
        options: &["rw=randread", "iodepth=8"],
        block: 4 << 10,
        requests: [2_000, 12_000],
        quick: None,
    },
    Job {
        name: "mixed-70-30-4jobs",
        options: &[
            "rw=randrw",
            "rwmixread=70",
            "iodepth=16",
            "numjobs=4",
            "group_reporting=1",
        ],
        block: 4 << 10,
        requests: [2_000, 12_000],
        quick: None,
    },
    Job {
        name: "randwrite-4k-fsync",
        options: &["rw=randwrite", "iodepth=1", "fsync=1"],
        block: 4 << 10,
        requests: [1_000, 6_000],
        quick: None,
    },
];

impl Job {
    /// Threads of fio that share the requests.
    fn jobs(&self) -> u64 {
        let number = |option: &&str| option.strip_prefix("numjobs=")?.parse().ok();
        self.options.iter().find_map(number).unwrap_or(1)
    }

    /// Arguments of fio for so many requests on a disk.
    pub(crate) fn arguments(&self, disk: &str, requests: u64) -> Vec<String> {
        let mut all: Vec<String> = [
            "name=job",
            "ioengine=io_uring",
            "direct=1",
            "thread=1",
            "randrepeat=1",
            "norandommap=1",
            "disk_util=0",
            "size=64m",
        ]
        .map(String::from)
        .to_vec();
        all.extend(self.options.iter().map(|option| option.to_string()));
        all.push(format!("bs={}", self.block));
        all.push(format!("io_size={}", requests / self.jobs() * self.block));
        all.push(format!("filename={disk}"));
        let dashed = all.iter().map(|option| format!("--{option}"));
        ["--minimal", "--eta=never"]
            .map(String::from)
            .into_iter()
            .chain(dashed)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_requests_are_shared_by_all_threads() {
        for job in JOBS {
            let wanted = job.arguments("/dev/x", 1200);
            let size = format!("--io_size={}", 1200 / job.jobs() * job.block);
            assert!(wanted.contains(&size), "{wanted:?}");
        }
        assert!(JOBS.iter().any(|job| job.jobs() == 4));
    }
}
