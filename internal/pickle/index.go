package pickle

import "hash/maphash"

// index finds keys of a dict by their hash. It holds positions only, a fifth of
// what a Go map takes: dicts are what large pickles consist of.
type index struct {
	seed  maphash.Seed
	slots []int32 // position+1, 0 if free; the length is a power of two
}

// find returns the position of a normalized key, or -1.
func (x *index) find(keys []node, key any) int {
	mask := uint64(len(x.slots) - 1)
	for h := maphash.Comparable(x.seed, key) & mask; x.slots[h] != 0; h = (h + 1) & mask {
		i := int(x.slots[h]) - 1
		if k, _ := normalKey(keys[i]); k == key {
			return i
		}
	}
	return -1
}

// add enters the last of the keys, or all of them in a larger table.
func (x *index) add(keys []node) {
	from := len(keys) - 1
	if 4*len(keys) > 3*len(x.slots) {
		if x.slots == nil {
			x.seed = maphash.MakeSeed()
		}
		x.slots, from = make([]int32, max(4*fewKeys, 2*len(x.slots))), 0
	}
	mask := uint64(len(x.slots) - 1)
	for i := from; i < len(keys); i++ {
		key, unique := normalKey(keys[i])
		if !unique {
			continue
		}
		h := maphash.Comparable(x.seed, key) & mask
		for x.slots[h] != 0 {
			h = (h + 1) & mask
		}
		x.slots[h] = int32(i) + 1
	}
}
