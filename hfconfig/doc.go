// Package hfconfig knows what a checkpoint of a Hugging Face model must hold:
// from config.json to the names and shapes of its tensors, and to its modules.
//
//	config, err := hfconfig.Parse(text)                // config.json
//	x, err := hfconfig.Builtin().Expect(config, nil)   // what it calls for
//	result := x.Compare(tensors, nil)                  // what a checkpoint has
//
// What is known of a model type stands in a readable file in arch; arch/README.md
// describes the format. [ParseArch] reads files of one's own, for models with
// code of their own. A model type or class that is not known is an error that
// matches [ErrUnknownModel]: nothing is guessed.
//
// # Layouts
//
// The same weights stand on disk under several names. [Save] is what
// save_pretrained writes by default, [Native] the names of the modules in memory,
// [Hub] a third way of some published files. A checkpoint is right in any of
// them, whole.
//
// # Quantization
//
// Where config.json has a quantization_config, the tensors are those that the
// method stores instead of the weights of linear maps. Lists of exceptions differ
// between tools; Compare goes by the form in which it finds each weight. Of a
// method that is not known such weights are not judged, and the report says so.
//
// # Security
//
// Configs and schemas may come from anybody. Bad ones are errors; work, memory
// and recursion are bounded, whatever they say. Nothing in them is executed.
package hfconfig
