package directio

// Place is where the data of a file lies.
type Place int

// Places; direct reads and writes are for disks.
const (
	Unknown Place = iota
	Memory
	Remote // on a server, which can copy files by itself
	Disk
)
