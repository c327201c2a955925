// Package policy says which system calls the processes of a cell may make, and
// makes the seccomp programs of it. The base is Docker's default profile, from the
// module github.com/moby/profiles; changes.go has what a cell does differently, each
// with its reason.
//
// No binary contains this package: it reads a profile and tables of names, which
// would cost a start of a seat milliseconds. Package generate runs it and writes the
// result into package seccomp, and a test there keeps the result true:
//
//	rules, err := policy.For(policy.X8664, policy.Options{})
//	program, err := rules.Program() // the part for one architecture, without the choice between them
package policy

import (
	"fmt"
	"maps"
	"slices"

	"github.com/elastic/go-seccomp-bpf/arch"
	docker "github.com/moby/profiles/seccomp"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// ABI is one set of system calls of a kernel.
type ABI struct {
	Name  string
	Calls map[string]int // numbers by name
	// native is the architecture of the node's kernel, as the profile's conditions
	// name it.
	native string
	docker specs.Arch
}

// The ABIs that a filter can contain.
var (
	X8664 = ABI{Name: "x86_64", Calls: arch.X86_64.SyscallNames, native: "amd64", docker: specs.ArchX86_64}
	I386  = ABI{Name: "i386", Calls: arch.I386.SyscallNames, native: "amd64", docker: specs.ArchX86}
	ARM64 = ABI{Name: "aarch64", Calls: arch.AARCH64.SyscallNames, native: "arm64", docker: specs.ArchAARCH64}
)

// Options are what a seat may ask for.
type Options struct {
	// UserNamespaces allows what makes a sandbox out of namespaces.
	UserNamespaces bool
}

// Rule is what happens to one system call.
type Rule struct {
	// When are alternatives. Without any the rule always applies; where none holds the
	// call fails with EPERM.
	When []Conditions
	// Errno is what the call fails with; 0 allows it.
	Errno unix.Errno
}

// Rules are what happens to all system calls of an ABI. One that is not named fails
// with EPERM.
type Rules struct {
	ABI    ABI
	ByName map[string]Rule
	// Newest is the highest number that the profile knows. A later one fails with
	// ENOSYS: programs try new calls, and use older ones where those do not exist.
	Newest int
}

// For returns the rules of an ABI: Docker's for a process without capabilities, with
// our changes.
func For(abi ABI, o Options) (Rules, error) {
	r := Rules{ABI: abi, ByName: make(map[string]Rule)}
	profile := docker.DefaultProfile()
	if profile.DefaultAction != specs.ActErrno || profile.DefaultErrnoRet == nil || unix.Errno(*profile.DefaultErrnoRet) != unix.EPERM {
		return Rules{}, fmt.Errorf("the profile's default is %s, expected EPERM", profile.DefaultAction)
	}
	if !inMap(profile.ArchMap, abi.docker) {
		return Rules{}, fmt.Errorf("the profile does not know %s", abi.docker)
	}
	for _, s := range profile.Syscalls {
		for _, name := range s.Names {
			if number, ok := abi.Calls[name]; ok {
				r.Newest = max(r.Newest, number)
			}
		}
		if !applies(s, abi) {
			continue
		}
		for _, name := range s.Names {
			if _, ok := abi.Calls[name]; !ok {
				continue // it is another architecture's
			}
			if err := r.add(name, s); err != nil {
				return Rules{}, err
			}
		}
	}
	for _, c := range changes(o) {
		for _, name := range c.Names {
			if _, ok := abi.Calls[name]; !ok {
				continue
			}
			if c.Refuse {
				delete(r.ByName, name)
			} else {
				r.ByName[name] = Rule{When: c.When}
			}
		}
	}
	return r, nil
}

// applies reports whether an entry of the profile is meant for a process without
// capabilities, on a kernel that is not older than all that Nearcast runs on.
func applies(s *docker.Syscall, abi ABI) bool {
	if in := s.Includes; in != nil {
		if len(in.Caps) > 0 {
			return false
		}
		if len(in.Arches) > 0 && !slices.Contains(in.Arches, abi.native) {
			return false
		}
	}
	if ex := s.Excludes; ex != nil {
		if slices.Contains(ex.Arches, abi.native) || ex.MinKernel != nil {
			return false
		}
	}
	return true
}

func inMap(all []docker.Architecture, a specs.Arch) bool {
	return slices.ContainsFunc(all, func(m docker.Architecture) bool {
		return m.Arch == a || slices.Contains(m.SubArches, a)
	})
}

// add puts one entry of the profile into the rules.
func (r *Rules) add(name string, s *docker.Syscall) error {
	was, again := r.ByName[name]
	switch s.Action {
	case specs.ActErrno:
		if again || len(s.Args) > 0 || s.ErrnoRet == nil {
			return fmt.Errorf("%s: the profile refuses it in a way that is not known here", name)
		}
		r.ByName[name] = Rule{Errno: unix.Errno(*s.ErrnoRet)}
	case specs.ActAllow:
		if again && was.Errno != 0 {
			return fmt.Errorf("%s: the profile both allows and refuses it", name)
		}
		if len(s.Args) == 0 {
			r.ByName[name] = Rule{}
			return nil
		}
		if again && len(was.When) == 0 {
			return nil // it is allowed already, whatever its arguments
		}
		when, err := conditions(s.Args)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		r.ByName[name] = Rule{When: append(was.When, when)}
	default:
		return fmt.Errorf("%s: the profile has action %s, which is not known here", name, s.Action)
	}
	return nil
}

func conditions(args []specs.LinuxSeccompArg) (Conditions, error) {
	var all Conditions
	for _, a := range args {
		c := Condition{Argument: a.Index, Value: a.Value}
		switch {
		case a.Op == specs.OpEqualTo:
			c.Is = Equal
		case a.Op == specs.OpLessThan:
			c.Is = Less
		case a.Op == specs.OpMaskedEqual && a.ValueTwo == 0:
			c.Is = Without
		default:
			return nil, fmt.Errorf("the profile has the condition %s, which is not known here", a.Op)
		}
		all = append(all, c)
	}
	return all, nil
}

// Names are the calls that have a rule, sorted.
func (r Rules) Names() []string {
	return slices.Sorted(maps.Keys(r.ByName))
}
