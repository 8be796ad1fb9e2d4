package directio

import (
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// control calls do with the descriptor of f, which stays open meanwhile.
func control(f *os.File, do func(fd uintptr) error) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var doErr error
	if err := conn.Control(func(fd uintptr) { doErr = do(fd) }); err != nil {
		return err
	}
	return doErr
}

// PlaceOf returns where the data of an open file lies.
func PlaceOf(f *os.File) Place {
	var st unix.Statfs_t
	if control(f, func(fd uintptr) error { return unix.Fstatfs(int(fd), &st) }) != nil {
		return Other
	}
	switch uint32(st.Type) {
	case unix.EXT4_SUPER_MAGIC, unix.XFS_SUPER_MAGIC, unix.BTRFS_SUPER_MAGIC, unix.F2FS_SUPER_MAGIC, unix.OVERLAYFS_SUPER_MAGIC:
		return Disk
	case unix.NFS_SUPER_MAGIC, unix.SMB2_SUPER_MAGIC, cifs, unix.CEPH_SUPER_MAGIC, unix.FUSE_SUPER_MAGIC:
		return Remote
	}
	return Other
}

const cifs = 0xff534d42 // linux/magic.h: CIFS_SUPER_MAGIC

// Reopen opens the file that f is once more, with the flags of os.OpenFile, for
// reads or writes past the page cache.
func Reopen(f *os.File, flag int) (direct *os.File, err error) {
	err = control(f, func(fd uintptr) (err error) {
		// The name may lead elsewhere by now.
		direct, err = os.OpenFile("/proc/self/fd/"+strconv.FormatUint(uint64(fd), 10), flag|unix.O_DIRECT, 0)
		return err
	})
	return direct, err
}

// cached reports whether the page cache has most of these bytes of f, or some that
// the disk does not have yet. If the kernel does not tell (before 6.5, and of others'
// files), they count as cached.
func cached(f *os.File, off, n int64) bool {
	var stat unix.Cachestat_t
	err := control(f, func(fd uintptr) error {
		return unix.Cachestat(uint(fd), &unix.CachestatRange{Off: uint64(off), Len: uint64(n)}, &stat, 0)
	})
	if err != nil {
		return true
	}
	return stat.Dirty > 0 || stat.Writeback > 0 || 2*stat.Cache*uint64(os.Getpagesize()) >= uint64(n)
}
