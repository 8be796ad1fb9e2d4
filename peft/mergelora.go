package peft

import (
	"math"

	"github.com/safeckpt/safeckpt/diag"
)

// transposedExperts are the model types that hold the joined weights of experts as
// [experts,in,out]. Follows transformers 5.23.0, is_transposed.
var transposedExperts = set("gpt_oss", "aria", "aria_text", "openai_privacy_filter")

// mergeLoRA follows peft 0.21.2 tuners/lora/layer.py: merge and get_delta_weight of
// Linear, Embedding, _ConvNd, MultiheadAttention and ParamWrapper.
func mergeLoRA(p *mergePlan, l *layer) {
	of := p.check.modules[l.path]
	if len(of) == 0 {
		return // the adapter of the embedding that it is tied to stands for it
	}
	keyA, keyB := "lora_A.weight", "lora_B.weight"
	if l.kind == embedding {
		keyA, keyB = "lora_embedding_A", "lora_embedding_B"
	}
	a, b := of[keyA], of[keyB]
	if a == nil || b == nil {
		p.lack(l, keyA+" and "+keyB)
		return
	}
	rank, _, alpha := p.check.rank(l.name)
	e := lowRank{a: p.file(a), b: p.file(b), rank: uint64(rank), experts: 1, scaling: float32(p.check.c.scaling(rank, alpha)), twice: p.safe}
	if math.IsInf(float64(e.scaling), 0) || math.IsNaN(float64(e.scaling)) {
		p.cannot(ConfigFile, "the scaling of %s is %v", diag.Name(l.path), e.scaling)
		return
	}
	weight := plainPath(l.path) + ".weight"
	piece := p.check.view.pieces[l.path]
	switch l.kind {
	case parameter:
		p.mergeParameter(l, e)
		return
	case attention:
		weight, e.twice = l.path+".in_proj_weight", true
	case embedding:
		e.transposed, e.twice = true, true
		p.warnTied(l)
	case conv1d:
		e.transposed = true
	case linear:
		e.twice = e.twice || piece
		p.warnTied(l)
	}
	e.conv = l.kind == conv
	if m := of["lora_magnitude_vector"]; m != nil {
		p.mergeDoRA(p.disk.name(weight), e, m)
		return
	}
	disk := p.disk.name(weight)
	if !p.disk.has(disk) && piece {
		if r := p.disk.expert(disk[:len(disk)-len(".weight")], l.out); r != nil {
			disk, e.region = r.tensor, *r
			e.expert = 0
		}
	}
	p.edit(disk, &e)
	if b := of["lora_B.bias"]; b != nil {
		p.edit(p.disk.name(plainPath(l.path)+".bias"), &biasEdit{from: p.file(b), scaling: e.scaling})
	}
	if plainPath(l.path) != l.path && lastPart(l.path) == "out_proj" {
		p.edit(disk, &e) // of an attention: PEFT adds it twice, in training as well
	}
}

// mergeParameter places the parts of a product that belong to single experts.
func (p *mergePlan) mergeParameter(l *layer, e lowRank) {
	e.twice = true
	d1, d2 := l.shape[len(l.shape)-2], l.shape[len(l.shape)-1]
	if len(l.shape) == 3 {
		e.experts = l.shape[0]
		wide := e.a.Info().Shape
		e.transposed = len(wide) == 2 && wide[1] == d1
		if d1 == d2 {
			e.transposed = transposedExperts[p.check.base.ModelType]
			if p.check.base.ModelType == "" {
				p.cannot("", "%s is square, and without config.json nothing says whether it is transposed", diag.Name(l.name))
				return
			}
		}
	}
	regions := p.disk.regions(l.name, l.shape)
	if regions == nil {
		p.cannot("", "%s is cut into tensors on disk in a way that is not known", diag.Name(l.name))
		return
	}
	for _, r := range regions {
		part := e
		part.region = r
		p.edit(r.tensor, &part)
	}
}

// warnTied warns where PEFT merges what was trained for the output embedding into
// the input embedding too.
func (p *mergePlan) warnTied(l *layer) {
	disk := p.disk.name(plainPath(l.path) + ".weight")
	if !outputEmbeddings[lastPart(l.path)] || len(p.disk.ties[disk]) == 0 || p.check.c.TieWeights {
		return
	}
	r := diag.New(diag.AdapterOnTied, "%s is one weight with the input embedding: merging the adapter changes both, as in PEFT, which is not what was trained", diag.Name(l.path))
	r.File, r.Tensor = WeightsFile, modelPrefix+l.path
	r.Cause = "tie_word_embeddings is true in the base's config.json, and target_modules selects the output embedding"
	r.Fix = "keep the adapter apart from the base, or train with modules_to_save or ensure_weight_tying"
	p.report.Add(r)
}
