package safetensors

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// goldenTypes are the types that testdata/make_elements.py covers.
var goldenTypes = []DType{F16, BF16, F8_E4M3, F8_E5M2, F8_E4M3FNUZ, F8_E5M2FNUZ, F8_E8M0, F6_E2M3, F6_E3M2, F4}

// golden reads an array that make_elements.py wrote, of elements of that size.
func golden(t *testing.T, name string, size int) []uint32 {
	t.Helper()
	f, err := os.Open("testdata/elements/" + name + ".gz")
	require.NoError(t, err)
	defer f.Close()
	z, err := gzip.NewReader(f)
	require.NoError(t, err)
	planes, err := io.ReadAll(z)
	require.NoError(t, err)
	out := make([]uint32, len(planes)/size)
	for i := range out {
		for b := range size {
			out[i] |= uint32(planes[b*len(out)+i]) << (8 * b)
		}
	}
	return out
}

// packCodes packs codes as they stand in a file.
func packCodes(d DType, codes []uint32) []byte {
	out := make([]byte, (len(codes)*d.Bits()+7)/8)
	for i, c := range codes {
		for b := range d.Bits() {
			at := i*d.Bits() + b
			out[at/8] |= byte(c>>b&1) << (at % 8)
		}
	}
	return out
}

func allCodes(d DType) []byte {
	codes := make([]uint32, 1<<d.Bits())
	for i := range codes {
		codes[i] = uint32(i)
	}
	return packCodes(d, codes)
}

// tensorOf returns a tensor of the given bytes in a file that is not mapped.
func tensorOf(t testing.TB, d DType, shape []uint64, data []byte) Tensor {
	t.Helper()
	info := []TensorInfo{{Name: "t", DType: d, Shape: shape}}
	_, err := place(info)
	require.NoError(t, err)
	require.EqualValues(t, info[0].Bytes(), len(data))
	header, err := appendHeader(nil, info, nil, 8)
	require.NoError(t, err)
	file := append(header, data...)
	f, err := NewFile(bytes.NewReader(file), int64(len(file)), nil)
	require.NoError(t, err)
	tensor, err := f.Tensor("t")
	require.NoError(t, err)
	return tensor
}

func floatBits(f float32) uint32 {
	if f != f {
		return 0x7fc00000
	}
	return math.Float32bits(f)
}

func TestDecodeAllBitPatterns(t *testing.T) {
	for _, d := range goldenTypes {
		t.Run(d.String(), func(t *testing.T) {
			want := golden(t, d.String()+".decode", 4)
			require.Len(t, want, 1<<d.Bits())
			tensor := tensorOf(t, d, []uint64{uint64(len(want))}, allCodes(d))
			narrow, err := AppendFloat32(nil, tensor)
			require.NoError(t, err)
			wide, err := AppendFloat64(nil, tensor)
			require.NoError(t, err)
			require.Len(t, narrow, len(want))
			require.Len(t, wide, len(want))
			for i, w := range want {
				if floatBits(narrow[i]) != w || floatBits(float32(wide[i])) != w || wide[i] != float64(narrow[i]) && w != 0x7fc00000 {
					t.Fatalf("code %#x is %x and %v, want %x", i, floatBits(narrow[i]), wide[i], w)
				}
			}
		})
	}
}

// goldenInputs are the values of make_elements.py, inputs.
func goldenInputs(t *testing.T, d DType) []float32 {
	var values []float32
	for i := range uint32(1 << 16) {
		values = append(values, math.Float32frombits(i*65521))
	}
	var finite []float32
	for _, bits := range golden(t, d.String()+".decode", 4) {
		if f := math.Float32frombits(bits); f-f == 0 {
			finite = append(finite, f+0)
		}
	}
	slices.Sort(finite)
	finite = slices.Compact(finite)
	n := len(finite)
	var mid []float32
	for i := range n - 1 {
		mid = append(mid, float32((float64(finite[i])+float64(finite[i+1]))/2))
	}
	top := float64(finite[n-1]) + (float64(finite[n-1])-float64(finite[n-2]))/2
	mid = append(mid, float32(top), float32(-top))
	values = append(append(values, finite...), mid...)
	inf := float32(math.Inf(1))
	for _, m := range mid {
		values = append(values, math.Nextafter32(m, -inf))
	}
	for _, m := range mid {
		values = append(values, math.Nextafter32(m, inf))
	}
	return append(values, 0, float32(math.Copysign(0, -1)), inf, -inf)
}

func TestEncodeGolden(t *testing.T) {
	for _, d := range goldenTypes {
		t.Run(d.String(), func(t *testing.T) {
			inputs := goldenInputs(t, d)
			size := max(d.Bits(), 8) / 8
			want := golden(t, d.String()+".encode", size)
			require.Len(t, inputs, len(want))
			nan := uint32(1)<<(8*size) - 1
			elements := 8 / min(d.Bits(), 8) // F6 needs four for whole bytes
			if d.Bits() == 6 {
				elements = 4
			}
			for i, f := range inputs {
				same := slices.Repeat([]float32{f}, elements)
				raw, err := EncodeFloat32(nil, d, same)
				if f != f && d.Bits() < 8 {
					require.ErrorIs(t, err, ErrNaN)
					continue
				}
				require.NoError(t, err)
				code := uint32(raw[0])
				if size == 2 {
					code = uint32(binary.LittleEndian.Uint16(raw))
				}
				code &= 1<<d.Bits() - 1
				back := make([]float32, elements)
				decodeFloat32(back, d, raw)
				if back[0] != back[0] {
					code = nan
				}
				if code != want[i] {
					t.Fatalf("%g (%x) became %#x, want %#x", f, math.Float32bits(f), code, want[i])
				}
				require.Equal(t, floatBits(back[0]), floatBits(back[elements-1]), "packing")
			}
		})
	}
}

// TestWidenAlike holds the processor's own conversion against ours, bit by bit.
func TestWidenAlike(t *testing.T) {
	for _, tt := range []struct {
		name                     string
		ours, processor, decoder func(dst []float32, src []byte)
	}{
		{"F16", lookUpF16, func(dst []float32, src []byte) { widenF16(dst, src) }, decodeF16},
		{"BF16", shiftBF16, func(dst []float32, src []byte) { widenBF16(dst, src) }, decodeBF16},
	} {
		t.Run(tt.name, func(t *testing.T) {
			src := append(allCodes(F16), 1, 2, 3, 4, 5, 6)
			n := len(src) / 2
			want, got := make([]float32, n), make([]float32, n)
			tt.ours(want, src)
			tt.processor(got, src)
			if got[1] == 0 {
				t.Skip("this processor does not convert them")
			}
			require.Equal(t, []float32{0, 0, 0}, got[n-3:], "what is left over is not touched")
			tt.decoder(got, src)
			for i := range want {
				require.Equal(t, math.Float32bits(want[i]), math.Float32bits(got[i]), "%#04x", i)
			}
			// Few elements, and a source that ends where dst does.
			for _, k := range []int{0, 1, 7, 8, 9, 17} {
				memory := make([]float32, k)
				tail := rawBytes(memory)[2*k:]
				copy(tail, src[2*0x3c00:])
				tt.decoder(memory, tail)
				require.Equal(t, want[0x3c00:0x3c00+k], memory, k)
			}
		})
	}
}

// TestNarrowAlike holds the processor's own rounding against ours, bit by bit: at
// every value of the type, around it and halfway to the next, and at random.
func TestNarrowAlike(t *testing.T) {
	for _, tt := range []struct {
		name                     string
		shift                    int // of the lowest bit that stays
		ours, processor, encoder func(dst []byte, src []float32)
	}{
		{"F16", 13, roundF16, func(dst []byte, src []float32) { narrowF16(dst, src) }, encodeF16},
		{"BF16", 16, roundBF16, func(dst []byte, src []float32) { narrowBF16(dst, src) }, encodeBF16},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var src []float32
			for high := range uint32(1 << (32 - tt.shift)) {
				for _, low := range []uint32{0, 1, 1<<(tt.shift-1) - 1, 1 << (tt.shift - 1), 1<<(tt.shift-1) + 1, 1<<tt.shift - 1} {
					src = append(src, math.Float32frombits(high<<tt.shift|low))
				}
			}
			r := rand.New(rand.NewPCG(1, 2))
			for range 1 << 20 {
				src = append(src, math.Float32frombits(r.Uint32()))
			}
			src = append(src[:len(src)&^7], 1, 2, 3)
			n := len(src)
			want, got := make([]byte, 2*n), make([]byte, 2*n)
			tt.ours(want, src)
			tt.processor(got, src)
			if bytes.Count(got, []byte{0}) == len(got) {
				t.Skip("this processor does not round to them")
			}
			require.Equal(t, make([]byte, 6), got[2*n-6:], "what is left over is not touched")
			tt.encoder(got, src)
			if !bytes.Equal(want, got) {
				for i, f := range src {
					w, g := binary.LittleEndian.Uint16(want[2*i:]), binary.LittleEndian.Uint16(got[2*i:])
					require.Equal(t, w, g, "%g (%#08x)", f, math.Float32bits(f))
				}
			}
			for _, k := range []int{0, 1, 7, 8, 9, 17} {
				memory := make([]byte, 2*k)
				tt.encoder(memory, src[1000:1000+k])
				require.Equal(t, want[2000:2000+2*k], memory, k)
			}
		})
	}
}

func TestEncodeRoundTrip(t *testing.T) {
	for _, d := range append([]DType{F32, F64, C64}, goldenTypes...) {
		values := []float32{1, 2, 4, 0.5, 0.25, 1, 2, 4}
		raw, err := EncodeFloat32([]byte("head"), d, values)
		require.NoError(t, err, d)
		require.Equal(t, "head", string(raw[:4]))
		n := uint64(len(raw)-4) * 8 / uint64(d.Bits())
		got, err := AppendFloat32(nil, tensorOf(t, d, []uint64{n}, raw[4:]))
		require.NoError(t, err)
		if d == F4 {
			values[4] = 0 // 0.25 is halfway between 0 and 0.5
		}
		require.Equal(t, values, got, d)
	}
	_, err := EncodeFloat32(nil, I32, []float32{1})
	require.ErrorIs(t, err, ErrDType)
	_, err = EncodeFloat32(nil, F4, []float32{1, 2, 3})
	require.ErrorContains(t, err, "do not end on a byte")
	_, err = EncodeFloat32(nil, C64, []float32{1, 2, 3})
	require.ErrorContains(t, err, "no whole C64")
}

func TestReverseElements(t *testing.T) {
	for d, want := range map[DType]string{U8: "12345678", F16: "21436587", I32: "43218765", C64: "43218765", F64: "87654321", BOOL: "12345678"} {
		data := []byte("12345678")
		reverseElements(data, d)
		require.Equal(t, want, string(data), d)
	}
}

// TestBigEndianMachine plays one: what is written is turned round, and back when
// it is read.
func TestBigEndianMachine(t *testing.T) {
	defer func(was bool) { bigEndian = was }(bigEndian)
	bigEndian = true
	elements := []uint32{1, 0x01020304}
	data, err := io.ReadAll(NewTensorData("t", []uint64{2}, elements).Data)
	require.NoError(t, err)
	want := slices.Clone(rawBytes(elements))
	reverseElements(want, U32)
	require.Equal(t, want, data)
	require.Equal(t, []uint32{1, 0x01020304}, elements, "the caller's slice is not touched")
	got, err := AppendElements([]uint32(nil), tensorOf(t, U32, []uint64{2}, data))
	require.NoError(t, err)
	require.Equal(t, elements, got)
}
