"""What store, watch and node promise, by number; tests marked `guarantee(number)` prove it."""

PROMISES: dict[int, str] = {
    # The store
    1: "Durable: what was acknowledged outlives a kill, a power cut, a full disk",
    2: "Atomic: what was written together is there as a whole or not at all, at every crash",
    3: "Strictly serialisable: the order of revisions is that of real time",
    4: "One revision: it grows with every write and is never given twice, after crash, restore or clock step",
    5: "Compare and set: a stale revision is a 409 that changes nothing; of many one wins",
    6: "Create and delete: a name that is there is a 409; deleted and made again is another uid",
    7: "No answer means unknown: repeating a request never does it twice",
    8: "A list is of one revision, over all its pages; when that is forgotten a 410",
    9: "A read at a revision is what a replay of the log gives; of the future or forgotten, an error",
    10: "A failed sync stops writes; a full disk refuses them, reads go on, and room heals it",
    11: "A file that is damaged, newer, foreign or in use is refused and left as it is",
    12: "Compaction, checkpoints and backups lose nothing and are of one revision, crashes included",
    13: "A crash during recovery, at any point, and recovery again: the same state",
    # Watches
    14: "Ordered: revisions never go down on a stream",
    15: "Unique: no event comes twice",
    16: "Together: what was stored in one write is told in one piece",
    17: "Reliable: no gaps, also for slow readers and after reconnecting",
    18: "Resumable: from any revision of the window; before it a clear 410",
    19: "Bookmarks never go back, and nothing up to one comes after it",
    20: "Filtered: by selector, namespace and rights; leaving a selection is a deletion",
    21: "The state before and whether it is new are right in each event",
    22: "From the future: nothing older is told, and no early bookmark",
    23: "List and watch: no gap and nothing twice at the seam; two watchers see the same",
    24: "Bounded: who does not read is let go, and delays nobody",
    25: "Lively: after a fault every watcher comes to the present; silence is noticed",
    26: "No way back in time: a server started again or restored is ahead of all that was ever seen",
    # The node
    27: "Killed at any moment: nothing is left that no Pod has, and what runs is left alone",
    28: "Content at a digest is whole or absent, and never collected while it is used",
    29: "Deleting works on what is frozen, stubborn or out of memory; and twice",
    30: "Clock steps, reboots and full disks change nothing that was asked for",
}
