package zero

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"strings"

	"github.com/safeckpt/safeckpt/diag"
	"github.com/safeckpt/safeckpt/hfconfig"
	"github.com/safeckpt/safeckpt/safetensors"
)

// choose decides what is written, and holds it against config.json.
func (m *merge) choose(file bool) error {
	s := m.s
	adapterConfig := s.has("adapter_config.json")
	m.stats.Adapter = adapterConfig && !file
	ties := make(map[string]string)
	for _, t := range s.tensors {
		switch {
		case m.o.ExcludeFrozen && (t.origin == frozen || t.origin == alias && s.originOf(t.of) == frozen):
			continue
		case t.origin == alias && m.o.Ties == TiesDrop:
			ties[t.name] = t.of
			continue
		case m.stats.Adapter && t.origin != trainable:
			continue // PEFT saves what was trained
		}
		if m.stats.Adapter {
			renamed := *t
			renamed.name = adapterName(t.name)
			t = &renamed
		}
		info, err := m.info(t)
		if err != nil {
			return err
		}
		m.tensors = append(m.tensors, t)
		m.infos = append(m.infos, info)
	}
	m.stats.Tensors = len(m.tensors)
	m.meta = map[string]string{"format": "pt", "safeckpt.source": m.source()}
	if len(ties) > 0 {
		text, err := json.Marshal(ties)
		if err != nil {
			return err
		}
		m.meta["safeckpt.tied"] = string(text)
	}
	if file || m.stats.Adapter || m.o.ExcludeFrozen {
		return nil
	}
	return m.hold()
}

// source says for the metadata where the tensors come from. It names no path.
func (m *merge) source() string {
	s := m.s
	text := fmt.Sprintf("DeepSpeed ZeRO-%d, %d ranks, %s", s.Stage, s.Ranks, path.Base(s.Tag))
	if s.FSDP {
		text = fmt.Sprintf("torch distributed checkpoint, %d ranks, %s", s.Ranks, path.Base(s.Tag))
	}
	if s.Universal {
		text = "DeepSpeed universal checkpoint, " + path.Base(s.Tag)
	}
	if s.Step >= 0 {
		text += fmt.Sprintf(", step %d", s.Step)
	}
	return strings.ToValidUTF8(text, "?")
}

func (s *Shards) originOf(name string) origin {
	for _, t := range s.tensors {
		if t.name == name {
			return t.origin
		}
	}
	return alias
}

// has reports whether a file lies beside the tag directory.
func (s *Shards) has(name string) bool {
	info, err := fs.Stat(s.fsys, path.Join(s.base, name))
	return err == nil && info.Mode().IsRegular()
}

// info says how a tensor will stand in the file.
func (m *merge) info(t *tensor) (safetensors.TensorInfo, error) {
	d := m.o.DType
	if !isFloat(t) {
		var ok bool
		if d, ok = t.headerDType(); !ok && t.numel == 0 {
			d = m.o.DType // a parameter of a group that no rank has anything of
		} else if !ok {
			return safetensors.TensorInfo{}, fmt.Errorf("zero: tensor %s is %v, which safetensors does not have", diag.Name(t.name), t.dtype)
		}
	}
	info := safetensors.TensorInfo{Name: t.name, DType: d}
	for _, n := range t.shape {
		info.Shape = append(info.Shape, uint64(n))
	}
	return info, nil
}

// headerDType returns the dtype that safetensors has for that of the pieces, false
// if it has none.
func (t *tensor) headerDType() (safetensors.DType, bool) {
	return safetensors.ParseDType(t.dtype.HeaderName())
}

// isFloat reports whether the dtype option applies to a tensor.
func isFloat(t *tensor) bool {
	switch t.dtype.HeaderName() {
	case "F64", "F32", "F16", "BF16":
		return true
	}
	return false
}

var (
	adapterKey = regexp.MustCompile(`(\.lora_[A-Za-z_]+)\.default(\.|$)`)
	savedKey   = regexp.MustCompile(`\.(modules_to_save|original_module)\.default\.`)
)

// adapterName is the name under which PEFT saves a parameter: without the
// adapter's own. Follows peft 0.21.2 utils/save_and_load.py,
// get_peft_model_state_dict.
func adapterName(name string) string {
	name = savedKey.ReplaceAllString(name, ".")
	name = adapterKey.ReplaceAllString(name, "$1$2")
	return strings.Replace(name, ".default.", ".", 1)
}

// hold compares the names and shapes of the result with what config.json calls
// for.
func (m *merge) hold() error {
	s := m.s
	note := func(why string) {
		p := diag.New(diag.MergeNotHeld, "the merged tensors were NOT held against a config: %s", why)
		p.File = path.Join(s.base, "config.json")
		m.stats.Report.Add(p)
	}
	if s.IsAdapter() {
		note("the names are those of a model under PEFT")
		return nil
	}
	text, err := fs.ReadFile(s.fsys, path.Join(s.base, "config.json"))
	if errors.Is(err, fs.ErrNotExist) {
		note("there is no config.json")
		return nil
	}
	if err != nil {
		return err
	}
	config, err := hfconfig.Parse(text)
	if err != nil {
		note(err.Error())
		return nil
	}
	registry := m.o.Registry
	if registry == nil {
		registry = hfconfig.Builtin()
	}
	x, err := registry.Expect(config, nil)
	if err != nil {
		note(err.Error())
		return nil
	}
	found := x.Compare(func(yield func(*safetensors.TensorInfo) bool) {
		for i := range m.infos {
			if !yield(&m.infos[i]) {
				return
			}
		}
	}, nil)
	if found.Report.Count(diag.Error) > 0 {
		return &Error{found.Report}
	}
	return nil
}
