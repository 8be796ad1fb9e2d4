package torchzip

import (
	"bytes"
	"hash/crc32"
	"io"
	"math"
)

// member is a member of an archive to build, and how to lie about it.
type member struct {
	name  string
	data  string
	hole  int64 // zeros after data
	crc   func(uint32) uint32
	local func(header []byte) // edits the local header
	dir   func(entry []byte)  // edits the directory entry
	late  bool                // sizes in a descriptor, as torch writes
}

// image is a file of some bytes and holes.
type image struct {
	at    []int64
	parts [][]byte
	size  int64
}

func (m *image) write(p []byte) {
	m.at, m.parts = append(m.at, m.size), append(m.parts, bytes.Clone(p))
	m.size += int64(len(p))
}

func (m *image) ReadAt(p []byte, off int64) (int, error) {
	if off >= m.size {
		return 0, io.EOF
	}
	n := int(min(int64(len(p)), m.size-off))
	clear(p[:n])
	for i, at := range m.at {
		if end := at + int64(len(m.parts[i])); at < off+int64(n) && end > off {
			copy(p[max(at-off, 0):n], m.parts[i][max(off-at, 0):])
		}
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (m *image) bytes() []byte {
	p := make([]byte, m.size)
	_, _ = m.ReadAt(p, 0)
	return p
}

// build writes an archive, with ZIP64 records where it needs them or always.
func build(zip64 bool, members ...member) *image {
	out := new(image)
	var directory []byte
	for _, m := range members {
		at, size := out.size, int64(len(m.data))+m.hole
		sum := crc32.ChecksumIEEE([]byte(m.data))
		if m.hole > 0 {
			sum = 0
		}
		if m.crc != nil {
			sum = m.crc(sum)
		}
		head := append([]byte(signatureLocal), make([]byte, localLen-4)...)
		if m.late {
			le.PutUint16(head[6:], flagDescriptor)
		} else {
			le.PutUint32(head[14:], sum)
			le.PutUint32(head[18:], uint32(size))
			le.PutUint32(head[22:], uint32(size))
		}
		le.PutUint16(head[26:], uint16(len(m.name)))
		padding := (64 - (at+localLen+int64(len(m.name))+4)%64) % 64
		le.PutUint16(head[28:], uint16(4+padding))
		head = append(head, m.name...)
		head = append(head, 'F', 'B', byte(padding), 0)
		head = append(head, bytes.Repeat([]byte{'Z'}, int(padding))...)

		entry := append([]byte(signatureDirectory), make([]byte, directoryLen-4)...)
		copy(entry[8:10], head[6:8])
		le.PutUint32(entry[16:], sum)
		le.PutUint16(entry[28:], uint16(len(m.name)))
		var extra []byte
		for _, f := range []struct {
			at int
			n  int64
		}{{24, size}, {20, size}, {42, at}} {
			if f.n >= math.MaxUint32 {
				le.PutUint32(entry[f.at:], math.MaxUint32)
				extra = le.AppendUint64(extra, uint64(f.n))
			} else {
				le.PutUint32(entry[f.at:], uint32(f.n))
			}
		}
		if len(extra) > 0 {
			extra = append([]byte{1, 0, byte(len(extra)), 0}, extra...)
		}
		le.PutUint16(entry[30:], uint16(len(extra)))
		entry = append(append(entry, m.name...), extra...)

		if m.local != nil {
			m.local(head)
		}
		if m.dir != nil {
			m.dir(entry)
		}
		out.write(head)
		out.write([]byte(m.data))
		out.size += m.hole
		if m.late {
			desc := le.AppendUint32([]byte(signatureDescriptor), sum)
			if size >= math.MaxUint32 || at >= math.MaxUint32 {
				desc = le.AppendUint64(le.AppendUint64(desc, uint64(size)), uint64(size))
			} else {
				desc = le.AppendUint32(le.AppendUint32(desc, uint32(size)), uint32(size))
			}
			out.write(desc)
		}
		directory = append(directory, entry...)
	}
	start := out.size
	out.write(directory)
	end := append([]byte(signatureEnd), make([]byte, endLen-4)...)
	le.PutUint16(end[8:], uint16(len(members)))
	le.PutUint16(end[10:], uint16(len(members)))
	le.PutUint32(end[12:], uint32(len(directory)))
	le.PutUint32(end[16:], uint32(min(start, math.MaxUint32)))
	if zip64 || start >= math.MaxUint32 {
		rec := append([]byte(signatureEnd64), make([]byte, end64Len-4)...)
		le.PutUint64(rec[4:], end64Len-12)
		le.PutUint64(rec[24:], uint64(len(members)))
		le.PutUint64(rec[32:], uint64(len(members)))
		le.PutUint64(rec[40:], uint64(len(directory)))
		le.PutUint64(rec[48:], uint64(start))
		loc := append([]byte(signatureLocator64), make([]byte, locator64Len-4)...)
		le.PutUint64(loc[8:], uint64(out.size))
		le.PutUint32(loc[16:], 1)
		out.write(rec)
		out.write(loc)
	}
	out.write(end)
	return out
}

// tensorPickle is the pickle of a 1-D float32 tensor of n < 256 elements in the
// storage 0.
func tensorPickle(n byte) string {
	return "\x80\x02ctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK" +
		string([]byte{n}) + "tQK\x00K" + string([]byte{n}) + "\x85K\x01\x85\x89}tR."
}
