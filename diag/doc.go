// Package diag holds what the checks of this module find: problems with a
// stable code, a place, a likely cause and a fix, collected in reports.
//
// An error returned by a function of this module says "could not check"; a
// [Report] says what is wrong with what was checked. [Report.Err] turns a report
// into an error for callers who want one answer, and a [Code] is itself an error,
// so that errors.Is can ask for one kind of problem.
package diag
