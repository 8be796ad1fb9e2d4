package hfconfig

import (
	"errors"
	"fmt"
	"math"
)

// functions are Python's, of the same names; islist is isinstance(x, list), keys sorted(x or {}).
var functions = map[string]func([]value) (value, error){
	"int":   one(func(x float64) float64 { return math.Trunc(x) }),
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
	"keys": func(a []value) (value, error) {
		if len(a) != 1 || a[0].kind != kindNull && a[0].s != "an object" {
			return value{}, errors.New("want one object")
		}
		return value{kind: kindList, list: a[0].list}, nil
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
