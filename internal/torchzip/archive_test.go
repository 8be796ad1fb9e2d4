package torchzip

import (
	"archive/zip"
	"bytes"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/safeckpt/safeckpt/internal/pickle"
)

// openAndLoad returns the error of opening, loading or checking an archive.
func openAndLoad(t testing.TB, m *image) (*Contents, *Checked, error) {
	a, err := Open(t.Context(), m, m.size)
	if err != nil {
		return nil, nil, err
	}
	c, err := a.Load(t.Context(), nil)
	if err != nil {
		return nil, nil, err
	}
	for _, s := range c.Storages {
		if _, err := c.Storage(s); err != nil {
			return nil, nil, err
		}
	}
	checked, err := a.Check(t.Context(), nil)
	return c, checked, err
}

func imageOf(data []byte) *image {
	m := new(image)
	m.write(data)
	return m
}

// Archives that torch wrote read as archive/zip reads them.
func TestAsArchiveZip(t *testing.T) {
	for _, name := range good(t) {
		data := readFile(t, name)
		a, err := Open(t.Context(), bytes.NewReader(data), int64(len(data)))
		require.NoError(t, err)
		if strings.Contains(name, "legacy") {
			require.Equal(t, Legacy, a.Format)
			require.Empty(t, a.Entries)
			continue
		}
		z, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
		require.NoError(t, err)
		require.Len(t, a.Entries, len(z.File))
		for _, f := range z.File {
			e, ok := a.Lookup(f.Name)
			require.True(t, ok)
			span, err := a.Data(e)
			require.NoError(t, err)
			offset, err := f.DataOffset()
			require.NoError(t, err)
			require.Equal(t, Span{offset, int64(f.UncompressedSize64)}, span)
			require.Equal(t, f.CRC32, e.CRC)
			require.Zero(t, span.Offset%64, "torch aligns members")
		}
		var total int64
		checked, err := a.Check(t.Context(), func(n int64) { total += n })
		require.NoError(t, err)
		require.Empty(t, checked.Damaged)
		if strings.Contains(name, "nocrc") {
			require.Len(t, checked.Unchecked, len(z.File))
			continue
		}
		require.Empty(t, checked.Unchecked)
		require.Positive(t, total)
	}
}

func TestBadFiles(t *testing.T) {
	for _, test := range []struct {
		file string
		want error
		text string
	}{
		{"os_system.pt", pickle.ErrUnsafe, "the pickle names os.system, which is not allowed; nothing was run (at byte 84)"},
		{"builtins_eval.pt", pickle.ErrUnsafe, "the pickle names __builtin__.eval"},
		{"posix_system.pt", pickle.ErrUnsafe, "the pickle names posix.system"},
		{"huge_numel.pt", ErrStorage, "data/6 has 1768 bytes, but the pickle says 1099511627776 elements of float32, 4398046511104 bytes"},
		{"storage_missing.pt", ErrStorage, "data/6, which is not in the archive"},
		{"storage_short.pt", ErrStorage, "data/6 has 884 bytes, but the pickle says 442 elements of float32, 1768 bytes"},
		{"truncated.pt", ErrTruncated, "it ends inside member bf16_zero_pp_rank_1_mp_rank_00_optim_states/data/8; the file has 5649 bytes, and at least 2625 are missing"},
	} {
		t.Run(test.file, func(t *testing.T) {
			_, _, err := openAndLoad(t, imageOf(readFile(t, "testdata/bad/"+test.file)))
			require.ErrorIs(t, err, test.want)
			require.ErrorContains(t, err, test.text)
		})
	}
	// 2^60 leaves, each of which is the same tuple: read, but no dict.
	c, _, err := openAndLoad(t, imageOf(readFile(t, "testdata/bad/memo_bomb.pt")))
	require.NoError(t, err)
	_, err = c.Root.Get("optimizer_state_dict", "zero_stage").Int()
	require.EqualError(t, err, ".optimizer_state_dict is missing: it is a tuple of 2 (at byte 564)")
	n := 0
	for range c.Root.All() {
		n++
	}
	require.Equal(t, 61, n)
}

func TestNotTorch(t *testing.T) {
	for _, test := range []struct {
		name, data string
		want       error
		text       string
	}{
		{"empty", "", ErrEmpty, "the file is empty (0 bytes)"},
		{"text", "<html>", ErrNotTorch, `neither a zip archive nor a pickle: the file begins with "<htm"`},
		{"one byte", "x", ErrNotTorch, `begins with "x"`},
		{"plain pickle", "\x80\x02}.", ErrNotTorch, "a pickle, but not one that torch.save wrote: no magic number"},
		{"start of a zip", "PK", ErrTruncated, "the zip archive is cut short: it ends between two members; the file has 2 bytes, and at least 20 are missing"},
		{"start of a pickle", "\x80", ErrTruncated, "the file is cut short: its 1 bytes end inside the magic number"},
		{"other zip", string(build(false, member{name: "word/document.xml", data: "<w/>"}).bytes()), ErrNotTorch, "a zip archive of 1 members without word/data.pkl: not written by torch.save"},
		{"empty zip", string(build(false).bytes()), ErrNotTorch, "a zip archive of 0 members without data.pkl: not written by torch.save"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, _, err := openAndLoad(t, imageOf([]byte(test.data)))
			require.ErrorIs(t, err, test.want)
			require.ErrorContains(t, err, test.text)
		})
	}
}

// edit returns a function that sets bytes of a header.
func edit(at int, value ...byte) func([]byte) {
	return func(p []byte) { copy(p[at:], value) }
}

func TestContainers(t *testing.T) {
	pkl := member{name: "a/data.pkl", data: tensorPickle(4)}
	storage := member{name: "a/data/0", data: "0123456789abcdef"}
	with := func(m member, f func(*member)) member { f(&m); return m }
	late := func(m *member) { m.late = true }

	for _, test := range []struct {
		name string
		file *image
		want error // nil if it is fine
		text string
	}{
		{"plain", build(false, pkl, storage), nil, ""},
		{"descriptors", build(true, with(pkl, late), with(storage, late)), nil, ""},
		{"no prefix", build(false, member{name: "data.pkl", data: "\x80\x02N."}), nil, ""},
		{"storage longer than needed", build(false, pkl, with(storage, func(m *member) { m.data += "more" })), nil, ""},
		{"little-endian", build(false, pkl, storage, member{name: "a/byteorder", data: "little"}, member{name: "a/version", data: "3\n"}), nil, ""},
		{"byte order", build(false, pkl, storage, member{name: "a/byteorder", data: "middle"}), ErrFormat, `byte order "middle", want little or big`},
		{"version", build(false, pkl, storage, member{name: "a/version", data: "11\n"}), ErrFormat, `archive version "11", want 1 to 10`},
		{"duplicate name", build(false, pkl, storage, storage), ErrFormat, "two members of the archive are called a/data/0"},
		{"no name", build(false, pkl, storage, member{}), ErrFormat, "a member of the archive has no name"},
		{"after the pickle", build(false, with(pkl, func(m *member) { m.data += "x" }), storage), ErrFormat, "1 bytes after the end of the pickle in a/data.pkl"},
		{"deflated pickle", build(false, with(pkl, func(m *member) { m.dir, m.local = edit(10, 8), edit(8, 8) }), storage), ErrCompressed, "member a/data.pkl is compressed"},
		{"deflated storage", build(false, pkl, with(storage, func(m *member) { m.dir, m.local = edit(10, 8), edit(8, 8) })), ErrCompressed, "member a/data/0 is compressed (16 bytes that expand to 16); torch stores members uncompressed"},
		{"other method", build(false, pkl, with(storage, func(m *member) { m.dir = edit(10, 93) })), ErrCompressed, "member a/data/0 is compressed with method 93"},
		{"encrypted", build(false, pkl, with(storage, func(m *member) { m.dir = edit(8, 1) })), ErrFormat, "member a/data/0 is encrypted"},
		{"names differ", build(false, pkl, with(storage, func(m *member) { m.local = edit(localLen, 'b') })), ErrFormat, "differ in the name"},
		{"methods differ", build(false, pkl, with(storage, func(m *member) { m.local = edit(8, 8) })), ErrFormat, "differ in the compression"},
		{"flags differ", build(false, pkl, with(storage, func(m *member) { m.local = edit(6, 8) })), ErrFormat, "differ in the flags"},
		{"sizes differ", build(false, pkl, with(storage, func(m *member) { m.local = edit(18, 15) })), ErrFormat, "differ in the sizes"},
		{"checksums differ", build(false, pkl, with(storage, func(m *member) { m.local = edit(14, 1, 2, 3, 4) })), ErrFormat, "differ in the checksum"},
		{"descriptor differs", build(false, pkl, with(storage, func(m *member) { m.late = true; m.dir = edit(16, 1, 2, 3, 4) })), ErrFormat, "the descriptor after its data and the directory differ"},
		{"no local header", build(false, pkl, with(storage, func(m *member) { m.local = edit(0, 'x') })), ErrFormat, "no header at byte 164, where the directory says"},
		{"long extra field", build(false, pkl, with(storage, func(m *member) { m.local = edit(28, 0xff, 0xff) })), ErrFormat, "overlaps what begins at byte"},
		{"overlap", build(false, with(pkl, func(m *member) { m.dir = edit(20, 200, 0, 0, 0, 200, 0, 0, 0) }), storage), ErrFormat, "member a/data.pkl of 200 bytes at byte 0 overlaps the next, a/data/0 at byte"},
		{"same place", build(false, pkl, with(storage, func(m *member) { m.dir = edit(42, 0, 0) })), ErrFormat, "overlaps the next"},
		{"over the directory", build(false, pkl, with(storage, func(m *member) { m.dir = edit(20, 200, 0, 0, 0, 200, 0, 0, 0) })), ErrFormat, "reaches past the end of the members"},
		{"past the end", build(false, pkl, with(storage, func(m *member) { m.dir = edit(42, 0xff, 0xff, 0xff, 0) })), ErrFormat, "does not fit in a file of"},
		{"two sizes", build(false, pkl, with(storage, func(m *member) { m.dir = edit(20, 15) })), ErrFormat, "is stored, yet has the sizes 15 and 16"},
		{"no ZIP64 sizes", build(false, pkl, with(storage, func(m *member) { m.dir = edit(20, 0xff, 0xff, 0xff, 0xff) })), ErrFormat, "member a/data/0 has no ZIP64 sizes"},
		{"not a directory entry", build(false, pkl, with(storage, func(m *member) { m.dir = edit(0, 'x') })), ErrFormat, "no directory entry at byte"},
		{"long directory entry", build(false, pkl, with(storage, func(m *member) { m.dir = edit(32, 1) })), ErrFormat, "the directory ends inside an entry"},
		{"storage key", build(false, with(pkl, func(m *member) { m.data = strings.Replace(m.data, "X\x01\x00\x00\x000", "X\x05\x00\x00\x00../..", 1) }), storage), ErrStorage, "the pickle names the storage a/data/../.., which is not in the archive"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, checked, err := openAndLoad(t, test.file)
			if test.want == nil {
				require.NoError(t, err)
				require.Empty(t, checked.Damaged)
				return
			}
			require.ErrorIs(t, err, test.want)
			require.ErrorContains(t, err, test.text)
		})
	}
}

// The end records: every field that differs is refused.
func TestEndRecords(t *testing.T) {
	pkl := member{name: "a/data.pkl", data: "\x80\x02N."}
	good := build(true, pkl).bytes()
	_, _, err := openAndLoad(t, imageOf(good))
	require.NoError(t, err)
	end := len(good) - endLen
	for at := end64start(good); at < len(good); at++ {
		bad := bytes.Clone(good)
		bad[at] ^= 0x15
		_, _, err := openAndLoad(t, imageOf(bad))
		rec := at - end64start(good)
		switch {
		case rec >= 12 && rec < 16: // versions
		case rec >= end64Len+4 && rec < end64Len+8, rec >= end64Len+16 && rec < end64Len+20: // disk numbers
		case rec >= end64Len && rec < end64Len+4: // no locator, so the directory ends too early
			require.ErrorContains(t, err, "it should end at byte")
		default:
			require.Error(t, err, "byte %d", rec)
		}
	}
	withComment := append(bytes.Clone(good), "hello"...)
	_, _, err = openAndLoad(t, imageOf(withComment))
	require.ErrorIs(t, err, ErrFormat)
	require.ErrorContains(t, err, "5 bytes after the end of the archive")
	withComment[end+20] = 5
	_, _, err = openAndLoad(t, imageOf(withComment))
	require.NoError(t, err)
	_, _, err = openAndLoad(t, imageOf(append([]byte("#!/bin/sh\n"), good...)))
	require.ErrorIs(t, err, ErrFormat)
}

func end64start(data []byte) int { return bytes.LastIndex(data, []byte(signatureEnd64)) }

// Members beyond 4 GiB, as torch writes them.
func TestZip64(t *testing.T) {
	const size = 5 << 30
	m := build(true,
		member{name: "big/data.pkl", data: "\x80\x02((X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpu\x8a\x05\x00\x00\x00\x50\x00tQ(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x001X\x03\x00\x00\x00cpuK\x01tQt.", late: true},
		member{name: "big/data/0", hole: size, late: true},
		member{name: "big/data/1", data: "\x00\x00\x80\x3f", late: true})
	a, err := Open(t.Context(), m, m.size)
	require.NoError(t, err)
	c, err := a.Load(t.Context(), nil)
	require.NoError(t, err)
	require.Len(t, c.Storages, 2)
	span, err := c.Storage(c.Storages[0])
	require.NoError(t, err)
	require.Equal(t, int64(0x50000000*4), span.Size)
	last, err := c.Storage(c.Storages[1])
	require.NoError(t, err)
	require.Greater(t, last.Offset, int64(size))
	p := make([]byte, last.Size)
	_, err = m.ReadAt(p, last.Offset)
	require.NoError(t, err)
	require.Equal(t, "\x00\x00\x80\x3f", string(p))
	for _, name := range []string{"big/data.pkl", "big/data/1"} { // reading 5 GiB of zeros takes too long
		e, _ := a.Lookup(name)
		span, err := a.Data(e)
		require.NoError(t, err)
		require.NoError(t, a.checkDescriptor(e, span))
	}

	m.size = size // cut inside the first storage
	_, err = Open(t.Context(), m, m.size)
	var cut *Error
	require.ErrorAs(t, err, &cut)
	require.Equal(t, "big/data/0", cut.Entry)
	require.Greater(t, cut.Missing, int64(100))
}

func TestBigEndian(t *testing.T) {
	c, _, err := openAndLoad(t, build(false, member{name: "a/data.pkl", data: tensorPickle(1)}, member{name: "a/byteorder", data: "big"},
		member{name: "a/data/0", data: "\x40\x60\x00\x00"}))
	require.NoError(t, err)
	require.True(t, c.BigEndian)
	tensor, err := c.Root.Tensor()
	require.NoError(t, err)
	got, err := c.Scalar(tensor)
	require.NoError(t, err)
	require.Equal(t, 3.5, got)
}

// A hole in a tensor, which torch loads without a word, and damage to the pickle.
func TestDamage(t *testing.T) {
	data := readFile(t, "testdata/trainer_rng_state.pth")
	a, err := Open(t.Context(), bytes.NewReader(data), int64(len(data)))
	require.NoError(t, err)
	for _, e := range a.Entries {
		span, err := a.Data(&e)
		require.NoError(t, err)
		bad := bytes.Clone(data)
		bad[span.Offset+span.Size/2] ^= 0x40
		b, err := Open(t.Context(), bytes.NewReader(bad), int64(len(bad)))
		require.NoError(t, err)
		checked, err := b.Check(t.Context(), nil)
		require.NoError(t, err)
		require.Len(t, checked.Damaged, 1)
		require.Equal(t, e.Name, checked.Damaged[0].Entry)
		require.ErrorIs(t, checked.Damaged[0], ErrChecksum)
		if strings.HasSuffix(e.Name, "data.pkl") {
			_, err := b.Load(t.Context(), nil)
			require.ErrorIs(t, err, ErrChecksum, "damage is told as such, not as bad syntax")
		}
	}
}

// Cut at any byte, a file is refused, and never said to lack more than it does.
func TestTruncatedEverywhere(t *testing.T) {
	for _, name := range []string{"torch_nocrc.pt", "trainer_optimizer.pt", "zero2_legacy_model_states.pt"} {
		t.Run(name, func(t *testing.T) {
			data := readFile(t, "testdata/"+name)
			inside := make(map[string]bool)
			step := 1 + len(data)/6000 // every byte, of all but the largest
			for n := 0; n < len(data); n += step {
				m := imageOf(data[:n])
				_, _, err := openAndLoad(t, m)
				if n == 0 {
					require.ErrorIs(t, err, ErrEmpty)
					continue
				}
				require.ErrorIs(t, err, ErrTruncated, "%d bytes", n)
				var cut *Error
				require.ErrorAs(t, err, &cut)
				require.Positive(t, cut.Missing, "%d bytes: %v", n, err)
				require.LessOrEqual(t, cut.Missing, int64(len(data)-n), "%d bytes: %v", n, err)
				inside[cut.Entry] = true
			}
			require.Greater(t, len(inside), 5)
		})
	}
}

// A source that is shorter than it says is an error, not a panic.
func TestShortSource(t *testing.T) {
	for _, name := range []string{"torch_zip.pt", "torch_legacy.pt"} {
		data := readFile(t, "testdata/"+name)
		a, err := Open(t.Context(), bytes.NewReader(data), int64(len(data)))
		require.NoError(t, err)
		a.r = bytes.NewReader(data[:100])
		_, err = a.Load(t.Context(), nil)
		require.True(t, errors.Is(err, ErrTruncated) || errors.Is(err, pickle.ErrTruncated), "%v", err)
	}
}

// Flip every byte of an archive: nothing panics, and no span leaves the file.
func TestFlippedBytes(t *testing.T) {
	for _, name := range []string{"torch_nocrc.pt", "zero2_legacy_model_states.pt"} {
		data := readFile(t, "testdata/"+name)
		for i := range data {
			for _, bit := range []byte{0x01, 0x80} {
				data[i] ^= bit
				readAll(t, data)
				data[i] ^= bit
			}
		}
	}
}

// readAll reads what can be read and checks what must hold of it.
func readAll(t testing.TB, data []byte) {
	a, err := Open(t.Context(), bytes.NewReader(data), int64(len(data)))
	if err != nil {
		require.NotEmpty(t, err.Error())
		return
	}
	_, _ = a.Check(t.Context(), nil)
	for i := range a.Entries {
		if span, err := a.Data(&a.Entries[i]); err == nil {
			requireInside(t, span, data)
		}
	}
	c, err := a.Load(t.Context(), nil)
	if err != nil {
		require.NotEmpty(t, err.Error())
		return
	}
	for v := range c.Root.All() {
		if tensor, err := v.Tensor(); err == nil {
			if span, err := c.Tensor(tensor); err == nil {
				requireInside(t, span, data)
				require.Equal(t, tensor.Numel()*tensor.DType.Size(), span.Size)
			}
			if tensor.Numel() == 1 {
				_, _ = c.Scalar(tensor)
			}
		}
	}
	for _, s := range c.Storages {
		if span, err := c.Storage(s); err == nil {
			requireInside(t, span, data)
		}
	}
}

func requireInside(t testing.TB, span Span, data []byte) {
	require.GreaterOrEqual(t, span.Offset, int64(0))
	require.GreaterOrEqual(t, span.Size, int64(0))
	require.LessOrEqual(t, span.Offset, int64(len(data)))
	require.LessOrEqual(t, span.Size, int64(len(data))-span.Offset)
}

func TestLegacyDamage(t *testing.T) {
	data := readFile(t, "testdata/zero2_legacy_model_states.pt")
	c := load(t, data)
	last := Span{}
	for _, s := range c.Storages {
		span, err := c.Storage(s)
		require.NoError(t, err)
		if span.Offset > last.Offset {
			last = span
		}
	}
	for _, test := range []struct {
		name string
		edit func([]byte) []byte
		want error
		text string
	}{
		{"cut", func(p []byte) []byte { return p[:len(p)-5] }, ErrTruncated, "and 5 are missing"},
		{"longer", func(p []byte) []byte { return append(p, 0) }, ErrFormat, "1 bytes after the last storage"},
		{"another count", func(p []byte) []byte { p[last.Offset-8]++; return p }, ErrStorage, "elements, but the pickle says"},
		{"another version", func(p []byte) []byte { p[18]++; return p }, ErrFormat, "the protocol version is the int 1002, want 1001"},
		{"an unknown key", func(p []byte) []byte { p[3275]++; return p }, ErrFormat, "which the pickle does not name"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, _, err := openAndLoad(t, imageOf(test.edit(bytes.Clone(data))))
			require.ErrorIs(t, err, test.want)
			require.ErrorContains(t, err, test.text)
		})
	}
}

// legacyFile is a legacy file of two byte storages, 0 and 1, of numel elements.
func legacyFile(numel, rest string) string {
	id := func(key string) string {
		return "(X\x07\x00\x00\x00storagectorch\nByteStorage\nX\x01\x00\x00\x00" + key + "X\x03\x00\x00\x00cpu\x8a" + string([]byte{byte(len(numel))}) + numel + "NtQ"
	}
	return "\x80\x02\x8a\n\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19." + "\x80\x02M\xe9\x03." + "\x80\x02}." +
		"\x80\x02(" + id("0") + id("1") + "t." + "\x80\x02]X\x01\x00\x00\x000aX\x01\x00\x00\x001a." + rest
}

// A hostile size must not overflow.
func TestLegacyHugeStorage(t *testing.T) {
	for _, numel := range []string{"\xff\xff\xff\xff\xff\xff\xff\x7f", "\xf8\xff\xff\xff\xff\xff\xff\x7f", "\x00\x00\x00\x00\x00\x00\x00\x40"} {
		_, _, err := openAndLoad(t, imageOf([]byte(legacyFile(numel, "\x08\x00\x00\x00\x00\x00\x00\x00"))))
		require.ErrorIs(t, err, ErrTruncated)
	}
	_, _, err := openAndLoad(t, imageOf([]byte(legacyFile("\x02", "\x02\x00\x00\x00\x00\x00\x00\x00ab\x02\x00\x00\x00\x00\x00\x00\x00cd"))))
	require.NoError(t, err)
}

func FuzzTorchzip(f *testing.F) {
	for _, name := range []string{"torch_nocrc.pt", "trainer_scheduler.pt", "bad/memo_bomb.pt"} { // the small ones
		f.Add(readFile(f, "testdata/"+name))
	}
	f.Add([]byte(legacyFile("\x02", "\x02\x00\x00\x00\x00\x00\x00\x00ab\x02\x00\x00\x00\x00\x00\x00\x00cd")))
	f.Add(build(false, member{name: "a/data.pkl", data: tensorPickle(4)}, member{name: "a/data/0", data: "0123456789abcdef"}).bytes())
	f.Add(build(true, member{name: "a/data.pkl", data: tensorPickle(1), late: true}, member{name: "a/data/0", data: "0123", late: true}).bytes())
	f.Fuzz(func(t *testing.T, data []byte) {
		readAll(t, data)
		// What is accepted is refused when it is cut.
		if a, err := Open(t.Context(), bytes.NewReader(data), int64(len(data))); err == nil && a.Format == Legacy && len(data) > 1 {
			if _, err := a.Load(t.Context(), nil); err == nil {
				_, _, err := openAndLoad(t, imageOf(data[:len(data)-1]))
				require.Error(t, err)
			}
		}
	})
}

func TestSaturatingAdd(t *testing.T) {
	require.Equal(t, int64(math.MaxInt64), saturatingAdd(math.MaxInt64-1, 2))
	require.Equal(t, int64(3), saturatingAdd(1, 2))
}

// The limit on the directory's memory holds before it is read in full.
func TestManyMembers(t *testing.T) {
	members := make([]member, 65_000)
	for i := range members {
		members[i].name = fmt.Sprintf("a/%0200d", i)
	}
	m := build(false, members...)
	_, err := Open(t.Context(), imageOf(m.bytes()), m.size)
	require.ErrorIs(t, err, ErrLimit)
}
