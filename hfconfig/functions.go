package hfconfig

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"math/big"
	"slices"
	"strconv"
	"strings"
)

// functions are Python's, of the same names, or its modules': prod and log2 are
// math's, bisect is bisect.bisect_left. islist is isinstance(x, list), keys sorted(x or {}),
// get dict.get, split(s, sep) is s.split(sep), factors(n) are the prime factors of n in
// ascending order, and primes(from, n) the first n primes from there on.
var functions = map[string]func([]value) (value, error){
	"int": func(a []value) (value, error) {
		if len(a) == 1 && a[0].kind == kindString {
			i, err := strconv.ParseInt(strings.TrimSpace(a[0].s), 10, 64)
			if err != nil {
				return value{}, fmt.Errorf("%s is no whole number", a[0])
			}
			return intValue(i), nil
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
	"log2": func(a []value) (value, error) {
		if len(a) != 1 {
			return value{}, errors.New("want one number")
		}
		f, ok := a[0].number()
		if !ok || !(f > 0) {
			return value{}, fmt.Errorf("%s has no logarithm", a[0])
		}
		return floatValue(math.Log2(f)), nil
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
		out := value{kind: kindList}
		for _, k := range slices.Sorted(maps.Keys(a[0].object)) {
			out.list = append(out.list, stringValue(k))
		}
		return out, nil
	},
	"get":  get,
	"sum":  reduce("+", 0),
	"prod": reduce("*", 1),
	"bisect": func(a []value) (value, error) {
		if len(a) != 2 || a[0].kind != kindList {
			return value{}, errors.New("want a list and a number")
		}
		for i, x := range a[0].list {
			if below, err := compare("<", x, a[1]); err != nil || !below {
				return intValue(int64(i)), err
			}
		}
		return intValue(int64(len(a[0].list))), nil
	},
	"factors": func(a []value) (value, error) {
		if len(a) != 1 || a[0].kind != kindInt || a[0].i < 1 || a[0].i > math.MaxInt32 {
			return value{}, errors.New("want one whole number of at least 1")
		}
		out := value{kind: kindList}
		n := a[0].i
		for p := int64(2); p*p <= n; p++ {
			for ; n%p == 0; n /= p {
				out.list = append(out.list, intValue(p))
			}
		}
		if n > 1 {
			out.list = append(out.list, intValue(n))
		}
		return out, nil
	},
	"split": func(a []value) (value, error) {
		if len(a) != 2 || a[0].kind != kindString || a[1].kind != kindString || a[1].s == "" {
			return value{}, errors.New("want a string and what separates its parts")
		}
		parts := strings.Split(a[0].s, a[1].s)
		out := value{kind: kindList, list: make([]value, len(parts))}
		for i, p := range parts {
			out.list[i] = stringValue(p)
		}
		return out, nil
	},
	"primes": func(a []value) (value, error) {
		if len(a) != 2 || a[0].kind != kindInt || a[1].kind != kindInt || a[0].i >= math.MaxInt64/2 || a[1].i > maxPrimes {
			return value{}, fmt.Errorf("want two whole numbers, the second up to %d", maxPrimes)
		}
		out := value{kind: kindList}
		for x := max(a[0].i, 2); int64(len(out.list)) < a[1].i; x++ {
			if big.NewInt(x).ProbablyPrime(0) { // certain below 2^64
				out.list = append(out.list, intValue(x))
			}
		}
		return out, nil
	},
	"max": extreme(">"),
	"min": extreme("<"),
}

// maxPrimes bounds the primes that an expression may ask for at once.
const maxPrimes = 1 << 12

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

// reduce is the sum or the product of a list.
func reduce(op string, start int64) func([]value) (value, error) {
	return func(a []value) (value, error) {
		if len(a) != 1 || a[0].kind != kindList {
			return value{}, errors.New("want one list")
		}
		total := intValue(start)
		for _, x := range a[0].list {
			var err error
			if total, err = arithmetic(op, total, x); err != nil {
				return value{}, err
			}
		}
		return total, nil
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

// get is what an object in config.json has under a key, or the default where it
// has none or there is no object: get(object, key, default). A whole number is
// found in any spelling that Python's int reads alike, as "7" and "07".
func get(a []value) (value, error) {
	switch {
	case len(a) != 3:
		return value{}, errors.New("want an object, a key and a default")
	case a[0].kind == kindNull:
		return a[2], nil
	case a[0].object == nil:
		return value{}, fmt.Errorf("%s is no object", a[0])
	case a[1].kind == kindString:
		if x, ok := a[0].object[a[1].s]; ok {
			return jsonValue(x), nil
		}
		return a[2], nil
	case a[1].kind != kindInt:
		return value{}, fmt.Errorf("%s is no key", a[1])
	}
	found, spelling := a[2], ""
	for k, x := range a[0].object {
		i, err := strconv.ParseInt(k, 10, 64)
		if err != nil || i != a[1].i {
			continue
		}
		if spelling != "" {
			return value{}, fmt.Errorf("%q and %q are the same key", min(k, spelling), max(k, spelling))
		}
		found, spelling = jsonValue(x), k
	}
	return found, nil
}
