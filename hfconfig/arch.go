package hfconfig

// An Arch is one parsed schema file: what checkpoints of one or several model
// types hold, as a function of their config.json. The format is described in
// arch/README.md. An Arch is immutable; any number of goroutines may use it.
type Arch struct {
	models []*model
}

// ModelTypes returns the values of model_type that the file describes, other
// spellings included, in the file's order.
func (a *Arch) ModelTypes() []string {
	var out []string
	for _, m := range a.models {
		out = append(append(out, m.name), m.aliases...)
	}
	return out
}

// Classes returns the names of the classes known for a model type, in the
// file's order, or nil.
func (a *Arch) Classes(modelType string) []string {
	for _, m := range a.models {
		if m.name == modelType {
			var out []string
			for _, c := range m.classes {
				out = append(out, c.name)
			}
			return out
		}
	}
	return nil
}

// A model is one model section and the sections that follow it.
type model struct {
	name     string
	aliases  []string
	prefix   string          // transformers' base_model_prefix, "" if none
	keys     map[string]*key // by name and by alias
	requires []requirement
	blocks   map[string]*block
	classes  []*class
	tolerate tolerate
}

// tolerate lists patterns of native names, as re.search takes them.
type tolerate struct {
	unexpected []string // may be in the file though the model has no such tensor
	missing    []string // may be absent though the model has them
}

// A key is one line of a config section.
type key struct {
	name    string
	aliases []string
	sub     *subConfig
	always  expr // the value, whatever the config says
	absent  expr // the value if the config does not have the key; nil: it must
	null    expr // the value if it is null; nil: stays null
}

// A subConfig says whose keys a nested object has.
type subConfig struct {
	modelType string         // the type, or with auto the type where it names none
	auto      bool           // by the object's own model_type
	self      bool           // where absent, the keys stand beside it, in the parent
	optional  bool           // where absent or null, there is none
	object    map[string]any // what stands for an absent or null object
	over      bool           // an object that is there takes from it what it lacks
}

// A requirement is what the class refuses otherwise or, with known, what the
// schema is limited to.
type requirement struct {
	cond  expr
	text  string
	known bool
}

// A block is a named, reusable list of statements.
type block struct {
	name   string
	params []string
	body   []stmt
}

// A class is a model class of transformers.
type class struct {
	name     string
	aliases  []string // names of the same class in older files
	roles    []string // "base", "causal", ...: which auto class picks it
	prefix   string
	body     []stmt
	tolerate tolerate
}

func (m *model) class(name string) *class {
	for _, c := range m.classes {
		if c.name == name {
			return c
		}
		for _, a := range c.aliases {
			if a == name {
				return c
			}
		}
	}
	return nil
}

func (m *model) role(role string) *class {
	for _, c := range m.classes {
		for _, r := range c.roles {
			if r == role {
				return c
			}
		}
	}
	return nil
}

// A stmt is a line of a block or class, with the lines below it.
type stmt interface{ stmt() }

type (
	rowStmt struct {
		paths []path
		kind  Kind
		dims  []expr
		bias  expr // nil: none
		cond  expr // nil: always
		line  int
	}
	groupStmt struct {
		path path
		body []stmt
	}
	loopStmt struct {
		v        string
		from, to expr // from may be nil: 0
		in       expr // instead of to: the elements of a list
		body     []stmt
		line     int
	}
	ifStmt struct {
		cond      expr
		body, els []stmt
	}
	letStmt struct {
		v string
		x expr
	}
	layoutStmt struct {
		layouts layoutSet
		body    []stmt
	}
	optionalStmt struct{ body []stmt }
	frozenStmt   struct{ body []stmt }
	plainStmt    struct{ body []stmt }
	useStmt      struct {
		model string // "": the same model
		block string
		role  string // instead of block: the class of that role
		args  []expr
		with  string // config path, "": the same config
		line  int
	}
	tieStmt struct {
		target, source path
		cond           expr
		body           []stmt // rows of modules: all of them are copies
	}
)

func (rowStmt) stmt()      {}
func (groupStmt) stmt()    {}
func (loopStmt) stmt()     {}
func (ifStmt) stmt()       {}
func (letStmt) stmt()      {}
func (layoutStmt) stmt()   {}
func (optionalStmt) stmt() {}
func (frozenStmt) stmt()   {}
func (plainStmt) stmt()    {}
func (useStmt) stmt()      {}
func (tieStmt) stmt()      {}

// A path is a name or a part of one, per layout; nil where it is the same as in
// the layout that stands in for it (see layoutSet).
type path [layoutCount][]segment

// A segment is literal text or, if x is set, a number.
type segment struct {
	text string
	x    expr
}

// in returns the segments of p in layout l.
func (p *path) in(l Layout) []segment {
	switch {
	case p[l] != nil:
		return p[l]
	case l == Hub && p[Save] != nil:
		return p[Save]
	default:
		return p[Native]
	}
}
