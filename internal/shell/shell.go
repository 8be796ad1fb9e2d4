// Package shell writes file names into commands that a person copies.
package shell

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Arg returns name as it must be typed to a shell as one argument that is no
// option.
func Arg(name string) string {
	if strings.HasPrefix(name, "-") {
		name = "./" + name
	}
	return Word(name)
}

// Word returns s as it must be typed to a shell as one word.
func Word(s string) string {
	switch {
	case !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }):
		q := strconv.Quote(s) // bash, zsh and POSIX 2024 know these escapes
		return "$'" + strings.NewReplacer("'", `\'`, `\"`, `"`).Replace(q[1:len(q)-1]) + "'"
	case s == "" || strings.ContainsFunc(s, func(r rune) bool {
		return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("._-+=:@%,/", r))
	}):
		return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
	}
	return s
}
