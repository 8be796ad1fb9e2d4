package safetensors

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/safeckpt/safeckpt/diag"
)

// check reports what is wrong between the files, and merges the files' reports.
func (m *Model) check(dir *dirList, f found) {
	lost := make(map[string][]string) // tensors by the file that should hold them
	for tensor, file := range m.weightMap {
		lost[file] = append(lost[file], tensor)
	}
	for i := range m.shards {
		s := &m.shards[i]
		var refused *FormatError
		switch {
		case s.Err == nil:
			m.report.Merge("", s.File.Report())
		case errors.As(s.Err, &refused):
			m.report.Merge("", refused.Report)
		case errors.Is(s.Err, fs.ErrNotExist):
			m.report.Add(missing(s.Name, lost[s.Name], len(m.shards), dir.names[s.Name]))
		default:
			m.report.Add(unreadable(s.Name, s.Err))
		}
	}
	if m.weightMap == nil && f.single == "" && f.index == "" {
		p := diag.New(diag.IndexMissing, "%s, but no index that says which tensors are where, first: %s", diag.Count(len(f.shards), "shard"), diag.Name(f.shards[0]))
		p.Cause = "the save was interrupted before the index was written, or the index was not copied"
		p.Fix = "get the index (*" + indexExt + ".json) from where the shards came from, or use the checkpoint before it"
		m.report.Add(p)
	}
	m.checkTensors()
	m.checkCount()
	m.checkStray(dir)
	m.checkTotalSize()
}

// missing reports a file that the index names and that is not there.
func missing(name string, tensors []string, files int, listed bool) diag.Problem {
	message := fmt.Sprintf("missing %s of %d files", diag.Name(name), files)
	if files == 1 {
		message = diag.Name(name) + " is missing"
	}
	if len(tensors) > 0 {
		message += fmt.Sprintf("; %s lost with it: %s", diag.Count(len(tensors), "tensor"), parts(tensors))
	}
	p := diag.New(diag.ShardMissing, "%s", message)
	p.File = name
	p.Cause = "a download, copy or save that was interrupted, or the index is of another save"
	p.Fix = "get what is missing from where the others came from, or use the checkpoint before it"
	if listed {
		p.Cause = "it is a symbolic link to a file that is gone, such as a blob of a cache that was cleaned"
		p.Fix = "download the model again, e.g. hf download REPO"
	}
	return p
}

// parts draws names together by the part of the model that they belong to, so
// that a lost shard reads "model.layers.{14-20} (7), lm_head.weight".
func parts(tensors []string) string {
	seen := make(map[string]bool)
	for _, name := range tensors {
		fields := strings.Split(name, ".")
		for i, f := range fields {
			if allDigits(f) {
				name = strings.Join(fields[:i+1], ".")
				break
			}
		}
		seen[name] = true
	}
	drawn := diag.Templates(slices.SortedFunc(maps.Keys(seen), diag.CompareNames))
	const room = 6
	if more := len(drawn) - room; more > 0 {
		drawn = append(drawn[:room], fmt.Sprintf("and %d more", more))
	}
	return strings.Join(drawn, ", ")
}

// checkTensors holds the index against the headers, in both directions.
func (m *Model) checkTensors() {
	shards := make(map[string]*Shard, len(m.shards))
	holders := make(map[string][]*Shard)
	for s, info := range m.Infos() {
		shards[s.Name] = s
		if list := holders[info.Name]; len(list) == 0 || list[len(list)-1] != s {
			holders[info.Name] = append(list, s)
		}
		if _, indexed := m.weightMap[info.Name]; m.weightMap != nil && !indexed {
			p := diag.New(diag.TensorNotInIndex, "%s is in %s but not in the index", diag.Name(info.Name), diag.Name(s.Name))
			p.File, p.Tensor = s.Name, info.Name
			p.Cause = "the index is of another save, or tensors were added to the shard without it"
			p.Fix = "save the model again, so that index and shards agree"
			m.report.Add(p)
		}
	}
	for i := range m.shards {
		shards[m.shards[i].Name] = &m.shards[i]
	}
	for _, name := range slices.Sorted(maps.Keys(holders)) {
		list := holders[name]
		if len(list) < 2 {
			continue
		}
		p := diag.New(diag.TensorTwice, "%s is in %d files: %s and %s", diag.Name(name), len(list), diag.Name(list[0].Name), diag.Name(list[1].Name))
		p.File, p.Tensor = list[1].Name, name
		p.Related = []diag.Related{{File: list[0].Name, Tensor: name, Message: "the first file that holds it"}}
		p.Cause = "files of two saves lie in one directory, or shards were copied and renamed"
		p.Fix = "save the model again into an empty directory"
		m.report.Add(p)
	}
	for _, tensor := range slices.Sorted(maps.Keys(m.weightMap)) {
		file := m.weightMap[tensor]
		s := shards[file]
		if s.Err != nil {
			continue // what is wrong with the file has been told
		}
		if _, ok := s.Header.Lookup(tensor); ok {
			continue
		}
		var p diag.Problem
		if others := holders[tensor]; len(others) > 0 {
			p = diag.New(diag.TensorMisplaced, "the index places %s in %s, it is in %s", diag.Name(tensor), diag.Name(file), diag.Name(others[0].Name))
			p.Want, p.Got = file, others[0].Name
		} else {
			p = diag.New(diag.TensorNotInShard, "the index places %s in %s, which does not hold it", diag.Name(tensor), diag.Name(file))
			p.Want = file
		}
		p.File, p.Tensor = m.name, tensor
		p.Cause = "the index is of another save than the shards, or shards were renamed or replaced"
		p.Fix = "get index and shards of one save, or save the model again"
		m.report.Add(p)
	}
}

// checkCount holds the number of files against the total in their names.
func (m *Model) checkCount() {
	sets := make(map[string]map[int]bool)
	totals := make(map[string]int)
	for i := range m.shards {
		if s, ok := parseShardName(m.shards[i].Name); ok {
			if sets[s.notation] == nil {
				sets[s.notation] = make(map[int]bool)
			}
			sets[s.notation][s.number] = true
			totals[s.notation] = s.total
		}
	}
	for _, notation := range slices.Sorted(maps.Keys(sets)) {
		have, total := len(sets[notation]), totals[notation]
		if have == total {
			continue
		}
		p := diag.New(diag.ShardCount, "found %d of the %d shards that the names of the files announce", have, total)
		p.File, p.Want, p.Got = m.name, diag.Count(total, "file"), diag.Count(have, "file")
		p.Cause = "a download, copy or save that was interrupted, or files of two saves"
		p.Fix = "get all files of one save"
		if m.weightMap != nil {
			p.Message = "the index has" + strings.TrimPrefix(p.Message, "found")
			p.Severity = diag.Warning // it may be complete: names are only names
		}
		m.report.Add(p)
	}
}

// checkStray reports safetensors files that are not of the model.
func (m *Model) checkStray(dir *dirList) {
	if m.weightMap == nil && len(m.shards) != 1 {
		return
	}
	stem := stemOf(m.name)
	for _, name := range dir.weights {
		if slices.ContainsFunc(m.shards, func(s Shard) bool { return s.Name == name }) || strings.HasPrefix(name, "adapter_model") {
			continue
		}
		_, isShard := parseShardName(name)
		kin := stemOf(name) == stem
		if m.weightMap == nil && !(isShard && kin) {
			continue // other files beside a single one are no sign of trouble
		}
		p := diag.New(diag.ShardStray, "%s is not of this model: %s does not name it", diag.Name(name), diag.Name(m.name))
		if m.weightMap == nil {
			p.Message = fmt.Sprintf("%s is not of this model, which is the single file %s", diag.Name(name), diag.Name(m.name))
		}
		p.File = name
		p.Cause = "left over from another save into the same directory, or lost from the index"
		p.Fix = "move it away if it is not needed; engines that load *.safetensors mix it in"
		if !kin {
			p.Severity = diag.Note // such as Mistral's consolidated.safetensors
		}
		m.report.Add(p)
	}
}

// checkTotalSize holds metadata.total_size against the tensors, if all headers
// are known. Tools write it as an integer; old ones as a float.
func (m *Model) checkTotalSize() {
	v, ok := m.metadata["total_size"]
	if !ok {
		return
	}
	for i := range m.shards {
		if m.shards[i].Err != nil {
			return
		}
	}
	var sum uint64
	for _, info := range m.Infos() {
		sum += info.Bytes()
	}
	got := "a number" // NaN, which cannot be marshalled
	if raw, err := json.Marshal(v); err == nil {
		got = jsonKind(raw)
	}
	if n, ok := v.(json.Number); ok {
		got = diag.Name(n.String())
		if got == strconv.FormatUint(sum, 10) {
			return
		}
		if f, err := n.Float64(); err == nil && strings.ContainsAny(got, ".eE") && f == float64(sum) {
			return
		}
	}
	p := diag.New(diag.IndexTotalSize, "total_size of the index is %s, the tensors take %s", got, diag.Count(sum, "byte"))
	p.File, p.Want, p.Got = m.name, strconv.FormatUint(sum, 10), got
	p.Cause = "the index is of another save, or the shards were converted to another dtype without it"
	p.Fix = "save the model again, or correct the number"
	m.report.Add(p)
}
