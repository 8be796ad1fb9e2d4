package torchzip

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/safeckpt/safeckpt/internal/pickle"
)

// maxVersion is the highest archive version that torch 2.15 reads.
const maxVersion = 10

// Contents is a torch file whose pickle has been read, and whose storages have
// been found long enough. Any number of goroutines may use it.
type Contents struct {
	*pickle.Document
	BigEndian bool // byte order of the storages
	Version   int  // of the archive; 0 if Legacy or not said

	a     *Archive
	found map[string]located // Legacy: the storages by key
}

// Load reads the pickle and holds the storages that it names against the
// container. Nil options mean the defaults, with a MaxMemory that grows with the
// file. The errors are those of the source, *Error and *pickle.Error.
func (a *Archive) Load(ctx context.Context, o *pickle.Options) (*Contents, error) {
	var opts pickle.Options
	if o != nil {
		opts = *o
	}
	if opts.MaxMemory == 0 {
		opts.MaxMemory = a.budget(pickle.DefaultMaxMemory)
	}
	if a.Format == Legacy {
		return a.loadLegacy(ctx, &opts)
	}
	c := &Contents{a: a}
	if err := c.readRecords(); err != nil {
		return nil, err
	}
	e, ok := a.Lookup(a.Prefix + "data.pkl")
	if !ok {
		return nil, &Error{Message: fmt.Sprintf("a zip archive of %d members without %s: not written by torch.save", len(a.Entries), entryName(a.Prefix+"data.pkl")), Err: ErrNotTorch}
	}
	span, err := a.Data(e)
	if err != nil {
		return nil, err
	}
	if err := a.checkMember(ctx, e, span, nil, make([]byte, min(span.Size, 32<<10))); err != nil {
		return nil, err // else the damage would be reported as bad syntax
	}
	end := span.Offset + span.Size
	if c.Document, err = pickle.Read(ctx, a.r, span.Offset, end, &opts); err != nil {
		return nil, err
	}
	if c.End != end {
		return nil, malformed(c.End, e.Name, "%d bytes after the end of the pickle in %s", end-c.End, entryName(e.Name))
	}
	for _, s := range c.Storages {
		if _, err := c.entry(s); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// readRecords reads the small members that say how to read the others. Old
// archives lack them.
func (c *Contents) readRecords() error {
	order, err := c.record("byteorder")
	if err != nil {
		return err
	}
	switch order {
	case "", "little":
	case "big":
		c.BigEndian = true
	default:
		return malformed(0, c.a.Prefix+"byteorder", "byte order %q, want little or big", order)
	}
	version, err := c.record("version")
	if err != nil || version == "" {
		return err
	}
	c.Version, err = strconv.Atoi(version)
	if err != nil || c.Version < 1 || c.Version > maxVersion {
		return malformed(0, c.a.Prefix+"version", "archive version %q, want 1 to %d", version, maxVersion)
	}
	return nil
}

func (c *Contents) record(name string) (string, error) {
	e, ok := c.a.Lookup(c.a.Prefix + name)
	if !ok {
		return "", nil
	}
	span, err := c.a.Data(e)
	if err != nil {
		return "", err
	}
	p := make([]byte, min(span.Size, 32))
	if err := readAt(c.a.r, p, span.Offset); err != nil {
		return "", err
	}
	return strings.TrimSpace(string(p)), nil
}

// entry returns the member that a storage is.
func (c *Contents) entry(s *pickle.Storage) (*Entry, error) {
	name := c.a.Prefix + "data/" + s.Key
	e, ok := c.a.Lookup(name)
	if !ok {
		return nil, &Error{Entry: name, Missing: s.Bytes(), Err: ErrStorage,
			Message: fmt.Sprintf("the pickle names the storage %s, which is not in the archive", entryName(name))}
	}
	if e.Uncompressed < s.Bytes() {
		return nil, &Error{Entry: name, Offset: e.HeaderOffset, Missing: s.Bytes() - e.Uncompressed, Err: ErrStorage,
			Message: fmt.Sprintf("storage %s has %d bytes, but the pickle says %d elements of %v, %d bytes", entryName(name), e.Uncompressed, s.Numel, s.DType, s.Bytes())}
	}
	return e, e.stored()
}

// Storage returns where the bytes of a storage of this file are. In a zip
// archive that takes reading the member's header.
func (c *Contents) Storage(s *pickle.Storage) (Span, error) {
	if c.a.Format == Legacy {
		return Span{c.found[s.Key].offset, s.Bytes()}, nil
	}
	e, err := c.entry(s)
	if err != nil {
		return Span{}, err
	}
	span, err := c.a.Data(e)
	span.Size = s.Bytes()
	return span, err
}

// ErrStrided is returned where the elements of a tensor are wanted end to end
// and are not.
var ErrStrided = errors.New("tensor is not contiguous")

// Tensor returns where the bytes of a contiguous tensor of this file are.
func (c *Contents) Tensor(t *pickle.Tensor) (Span, error) {
	span, err := c.Storage(t.Storage)
	if err != nil {
		return Span{}, err
	}
	if !t.Contiguous() {
		return Span{}, fmt.Errorf("%w: shape %v, strides %v", ErrStrided, t.Shape(), t.Strides())
	}
	size := t.DType.Size()
	if t.Numel() == 0 {
		return Span{Offset: span.Offset}, nil
	}
	return Span{span.Offset + t.Offset*size, t.Numel() * size}, nil
}

// Scalar reads the one element of a tensor: a bool, an integer or a float of 32
// or 64 bits, such as the step counters of optimizers.
func (c *Contents) Scalar(t *pickle.Tensor) (float64, error) {
	if t.Numel() != 1 {
		return 0, fmt.Errorf("tensor of %d elements, want one", t.Numel())
	}
	span, err := c.Storage(t.Storage)
	if err != nil {
		return 0, err
	}
	p := make([]byte, t.DType.Size())
	if err := readAt(c.a.r, p, span.Offset+t.Offset*t.DType.Size()); err != nil {
		return 0, err
	}
	var bits uint64
	for i, b := range p {
		if c.BigEndian {
			i = len(p) - 1 - i
		}
		bits |= uint64(b) << (8 * i)
	}
	unused := 64 - 8*len(p)
	switch name := t.DType.String(); name {
	case "float64":
		return math.Float64frombits(bits), nil
	case "float32":
		return float64(math.Float32frombits(uint32(bits))), nil
	case "int64", "int32", "int16", "int8":
		return float64(int64(bits<<unused) >> unused), nil
	case "uint64", "uint32", "uint16", "uint8", "bool":
		return float64(bits), nil
	default:
		return 0, fmt.Errorf("tensor of %s, want float32, float64 or integers", name)
	}
}
