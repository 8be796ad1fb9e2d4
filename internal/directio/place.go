package directio

// Place is where the data of a file lies.
type Place int

// Direct reads and writes are for disks. Others have caches of their own (ZFS), want
// far more at once (Lustre), or are memory.
const (
	Other  Place = iota
	Remote       // on a server, which can copy files by itself
	Disk
)
