// Package peft reads LoRA and other PEFT adapters without Python: it says which
// tensors adapter_config.json calls for, and whether an adapter fits its base.
//
// An adapter is a small file of tensors that go onto named modules of a base
// model. PEFT's own loader leaves out what it cannot place and starts what it
// does not find anew, after one warning or none, so that a broken adapter often
// loads and does nothing. [Check] names what is missing, unexplained or misnamed,
// with cause and fix:
//
//	config, err := peft.ParseConfig(text)
//	...
//	base := peft.NewBase(expectation)            // from the base's config.json
//	r := peft.Check(&peft.Adapter{Config: config, Tensors: header.Tensors}, base)
//	fmt.Println(r.Summary())
//	err = r.Report.Err()
//
// The tensors of the types that [Checked] lists are held against their config, those
// of others only listed. [RenameAdapter] writes a copy of an adapter whose names fit
// the base. [Merge] writes the model that PEFT's merge_and_unload makes of the two:
//
//	stats, err := peft.Merge(ctx, "base", "adapter", "merged", nil)
//
// Without a base, config and file are held against each other. Matching follows
// peft 0.21.2, for lists as for Python's regular expressions.
//
// All input may be hostile: time and memory are bounded by the size of the input
// and by the number of modules of the base times that of the patterns.
package peft
