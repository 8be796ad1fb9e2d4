package hfconfig

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// functions are Python's, of the same names; islist is isinstance(x, list), and
// split(s, sep) is s.split(sep). per_layer is none of Python's.
var functions = map[string]func([]value) (value, error){
	"int": func(a []value) (value, error) {
		if len(a) == 1 && a[0].kind == kindString {
			n, err := strconv.ParseInt(strings.TrimSpace(a[0].s), 10, 64)
			if err != nil {
				return value{}, fmt.Errorf("%s is no whole number", a[0])
			}
			return intValue(n), nil
		}
		return one(math.Trunc)(a)
	},
	"ceil":  one(math.Ceil),
	"floor": one(math.Floor),
	"round": one(math.RoundToEven),
	"abs": func(a []value) (value, error) {
		if len(a) == 1 && a[0].kind == kindFloat {
			return floatValue(math.Abs(a[0].f)), nil
		}
		if len(a) == 1 && a[0].kind == kindInt && a[0].i >= 0 {
			return a[0], nil
		}
		if len(a) == 1 {
			return arithmetic("-", intValue(0), a[0])
		}
		return value{}, errors.New("want one number")
	},
	"len": func(a []value) (value, error) {
		switch {
		case len(a) == 1 && a[0].kind == kindList:
			return intValue(int64(len(a[0].list))), nil
		case len(a) == 1 && a[0].kind == kindString:
			return intValue(int64(len(a[0].s))), nil
		}
		return value{}, errors.New("want one list")
	},
	"islist": func(a []value) (value, error) {
		return boolValue(len(a) == 1 && a[0].kind == kindList), nil
	},
	"sum": func(a []value) (value, error) {
		if len(a) != 1 || a[0].kind != kindList {
			return value{}, errors.New("want one list")
		}
		total := intValue(0)
		for _, x := range a[0].list {
			var err error
			if total, err = arithmetic("+", total, x); err != nil {
				return value{}, err
			}
		}
		return total, nil
	},
	"split": func(a []value) (value, error) {
		if len(a) != 2 || a[0].kind != kindString || a[1].kind != kindString || a[1].s == "" {
			return value{}, errors.New("want a string and what stands between its parts")
		}
		out := value{kind: kindList}
		for _, part := range strings.Split(a[0].s, a[1].s) {
			out.list = append(out.list, stringValue(part))
		}
		return out, nil
	},
	// What a per_layer_config says of a layer, else the last argument. Its keys are
	// the layers' numbers, which transformers writes with zeros before them.
	"per_layer": func(a []value) (value, error) {
		if len(a) != 4 || a[1].kind != kindInt || a[2].kind != kindString || a[0].kind != kindNull && a[0].object == nil {
			return value{}, errors.New("want an object, a layer, a key and a default")
		}
		for width := range 8 {
			layer, _ := a[0].object[fmt.Sprintf("%0*d", width, a[1].i)].(map[string]any)
			if x, ok := layer[a[2].s]; ok {
				return jsonValue(x), nil
			}
		}
		return a[3], nil
	},
	"max": extreme(">"),
	"min": extreme("<"),
}

func one(f func(float64) float64) func([]value) (value, error) {
	return func(a []value) (value, error) {
		if len(a) != 1 {
			return value{}, errors.New("want one number")
		}
		switch a[0].kind {
		case kindInt:
			return a[0], nil
		case kindBool:
			return intValue(a[0].i), nil
		case kindFloat:
			return whole(f(a[0].f))
		}
		return value{}, fmt.Errorf("%s is no number", a[0])
	}
}

func extreme(op string) func([]value) (value, error) {
	return func(a []value) (value, error) {
		if len(a) == 1 && a[0].kind == kindList {
			a = a[0].list
		}
		if len(a) == 0 {
			return value{}, errors.New("want at least one number")
		}
		best := a[0]
		for _, x := range a[1:] {
			better, err := compare(op, x, best)
			if err != nil {
				return value{}, err
			}
			if better {
				best = x
			}
		}
		return best, nil
	}
}
