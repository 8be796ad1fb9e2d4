package hfconfig

import (
	"fmt"
	"math/bits"
	"regexp"
	"strconv"
)

// measure collects ties, counts the tensors and finds the layouts that differ.
// It evaluates everything once, so that later walks cannot fail.
func (p *plan) measure(work *frame, limit int) error {
	f := &frame{vars: make([]value, p.slots), left: work.left}
	if err := p.collectTies(f); err != nil {
		return err
	}
	if err := p.quantize(f); err != nil {
		return err
	}
	rows, seen := 0, difference(0)
	e := emitter{plan: p, layout: Save, names: p.quant != nil, emit: func(t *emitted) error {
		if t.tied {
			return nil
		}
		n := uint64(1)
		for _, d := range t.shape {
			hi, lo := bits.Mul64(n, d)
			if n = lo; hi != 0 || n > 1<<62 {
				return &ConfigError{"", "it leads to a tensor too large to count"}
			}
		}
		if t.part != nil {
			n = t.part.elements
		}
		if !t.optional() {
			p.count++
		}
		if p.elements += n; p.elements > 1<<62 {
			return &ConfigError{"", "it leads to a model too large to count"}
		}
		return nil
	}}
	err := walk(p.nodes, f, false, func(n *node) error {
		r := n.row
		if r == nil {
			return nil
		}
		for l := range Layout(layoutCount) {
			if l == Native || !r.native.has(l) {
				if err := checkName(r.names[l], f); err != nil {
					return err
				}
			}
		}
		if d := r.differences(); d|seen != seen && !p.tiedAway(r, f) {
			seen |= d
		}
		if rows++; rows > limit || p.count > limit {
			return &ConfigError{"", fmt.Sprintf("it leads to more than %d tensors, the limit (ExpectOptions.MaxTensors)", limit)}
		}
		shape, bias, err := r.size(f)
		if err != nil || !r.layouts.has(Save) || r.optional {
			return err
		}
		return e.tensors(r, f, shape, bias)
	})
	if err == nil && p.quant != nil {
		if p.quant.clock.done = true; p.quant.clock.exceeded() {
			err = &ConfigError{"quantization_config", "its regular expressions take too long to match"}
		}
	}
	p.distinct[Native] = seen&nativeSave != 0
	p.distinct[Hub] = seen&hubSave != 0 && seen&hubNative != 0
	return err
}

// tiedAway reports whether a row is a copy of other weights only.
func (p *plan) tiedAway(r *row, f *frame) bool {
	if len(p.ties) == 0 || !r.layouts.has(Native) {
		return false
	}
	name := appendName(nil, r.names[Native], f)
	tied := func(suffix string) bool { _, ok := p.ties[string(name)+suffix]; return ok }
	for _, suffix := range kinds[r.kind].suffixes {
		if !tied(suffix) {
			return false
		}
	}
	return r.bias == nil || tied(".bias")
}

func (p *plan) collectTies(f *frame) error {
	name := func(parts []part) (string, error) {
		if err := checkName(parts, f); err != nil {
			return "", err
		}
		return string(appendName(nil, parts, f)), nil
	}
	return walk(p.nodes, f, true, func(n *node) error {
		if n.tie == nil {
			return nil
		}
		target, err := name(n.tie.target)
		if err != nil {
			return err
		}
		source, err := name(n.tie.source)
		if err != nil {
			return err
		}
		if p.ties == nil {
			p.ties = make(map[string]string)
		}
		p.ties[target] = source
		p.tieSize[len(target)%256] = true
		return nil
	})
}

// An emitted tensor is valid only during the call that receives it.
type emitted struct {
	row   *row
	frame *frame
	name  []byte
	base  int // where the name of the module ends
	shape []uint64
	tied  bool // a copy of another weight
	part  *stored
	blind bool // quantized in a way that is not known: it may be there as it is
}

// optional reports whether a checkpoint may leave the tensor out.
func (t *emitted) optional() bool {
	return t.tied || t.blind || t.row.optional || t.part != nil && t.part.optional
}

// An emitter turns rows into tensors of one layout.
type emitter struct {
	plan   *plan
	layout Layout
	names  bool // names are wanted, not only whether they are tied
	emit   func(*emitted) error
	choose func(w *weight) bool // whether a weight is quantized; nil: as the config says

	t      emitted
	native []byte
	ties   bool
}

var scalar = []uint64{}

func (e *emitter) tensors(r *row, f *frame, shape, bias []uint64) error {
	e.t.row, e.t.frame = r, f
	if e.names {
		e.t.name = appendName(e.t.name[:0], r.names[e.layout], f)
		e.t.base = len(e.t.name)
	}
	if e.ties = len(e.plan.ties) > 0; e.ties {
		e.native = appendName(e.native[:0], r.names[Native], f)
	}
	done := false
	if q := e.plan.quant; q != nil {
		var err error
		if done, err = e.quantized(q, r, f, shape, bias != nil); err != nil {
			return err
		}
	}
	for _, suffix := range kinds[r.kind].suffixes {
		if done {
			break
		}
		if err := e.one(suffix, shape); err != nil {
			return err
		}
	}
	e.t.blind = false
	if r.kind == BatchNorm && !r.frozen {
		if err := e.one(".num_batches_tracked", scalar); err != nil {
			return err
		}
	}
	if bias != nil {
		return e.one(".bias", bias)
	}
	return nil
}

// quantized emits what stands for a weight; done is false if it is stored as it
// is.
func (e *emitter) quantized(q *quantized, r *row, f *frame, shape []uint64, bias bool) (done bool, err error) {
	e.t.blind = q.unknown(r)
	w, ok := q.of(r, f, e.t.name[:e.t.base], shape)
	if ok && e.choose != nil {
		ok = e.choose(&w)
	} else if ok {
		ok = w.rule
	}
	if !ok {
		return false, nil
	}
	for i := range w.parts {
		if e.t.part = &w.parts[i]; bias && e.t.part.suffix == ".bias" {
			continue
		}
		if err = e.one(e.t.part.suffix, e.t.part.shape); err != nil {
			break
		}
	}
	e.t.part = nil
	return true, err
}

func (e *emitter) one(suffix string, shape []uint64) error {
	e.t.tied = false
	if n := len(e.native); e.ties && e.plan.tieSize[(n+len(suffix))%256] {
		e.native = append(e.native, suffix...)
		_, e.t.tied = e.plan.ties[string(e.native)]
		e.native = e.native[:n]
	}
	e.t.name = append(e.t.name[:e.t.base], suffix...)
	e.t.shape = shape
	return e.emit(&e.t)
}

// each calls emit for every tensor in layout l, those included that may be left
// out, until it returns false.
func (p *plan) each(l Layout, emit func(t *emitted) bool) { p.eachAs(l, nil, emit) }

// eachAs does so with weights quantized as choose says.
func (p *plan) eachAs(l Layout, choose func(w *weight) bool, emit func(t *emitted) bool) {
	f := &frame{vars: make([]value, p.slots), left: maxWork}
	e := emitter{plan: p, layout: l, names: true, choose: choose, emit: func(t *emitted) error {
		if !emit(t) {
			return errStop
		}
		return nil
	}}
	// No error but errStop: measure has evaluated the same before.
	_ = walk(p.nodes, f, false, func(n *node) error {
		r := n.row
		if r == nil || !r.layouts.has(l) {
			return nil
		}
		shape, bias, err := r.size(f)
		if err != nil {
			return err
		}
		return e.tensors(r, f, shape, bias)
	})
}

var moduleName = regexp.MustCompile(`^[\w-]{1,64}$`)

// checkName evaluates the numbers and words in a name. A word comes from the config (a language has its adapter in X-MOD), and is
// the name of one module: torch allows no dot in it either.
func checkName(parts []part, f *frame) error {
	for i := range parts {
		if parts[i].x == nil {
			continue
		}
		v, err := parts[i].x.eval(f)
		if err != nil {
			return err
		}
		if v.kind != kindInt && (v.kind != kindString || !moduleName.MatchString(v.s)) {
			return fmt.Errorf("%s: want a whole number or the name of a module", v)
		}
	}
	return nil
}

// appendName writes a name that checkName has checked.
func appendName(buf []byte, parts []part, f *frame) []byte {
	for i := range parts {
		switch x := parts[i].x.(type) {
		case nil:
			buf = append(buf, parts[i].text...)
		case slot:
			buf = appendNameValue(buf, f.vars[x.n])
		default:
			v, _ := x.eval(f)
			buf = appendNameValue(buf, v)
		}
	}
	return buf
}

func appendNameValue(buf []byte, v value) []byte {
	if v.kind == kindString {
		return append(buf, v.s...)
	}
	return strconv.AppendInt(buf, v.i, 10)
}
