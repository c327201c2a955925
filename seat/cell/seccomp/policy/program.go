package policy

import (
	"fmt"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// Conditions on the arguments of a system call, which must all hold.
type Conditions []Condition

// Condition compares one argument with a value, in all 64 bits.
type Condition struct {
	Argument uint
	Is       Comparison
	Value    uint64
}

// Comparison is what a condition asks of an argument.
type Comparison int

// The comparisons, unsigned.
const (
	Equal Comparison = iota
	NotEqual
	Less
	NotLess
	Without // none of the value's bits
)

// span is a range of numbers of system calls with one rule.
type span struct {
	first uint32
	rule  Rule
}

var refused = Rule{Errno: unix.EPERM}

// Program makes the BPF program of the rules. It expects the number of the system
// call in the accumulator, and returns in each case, so that programs of several
// ABIs can be put one behind the other.
//
// It is our own assembler because that of go-seccomp-bpf v1.6.0 forgets the number
// once it has looked at an argument: a call that is refused for its argument is then
// compared with the other calls by that argument, and socket(AF_VSOCK) is allowed
// where call 40 is. Ours also searches, instead of comparing with one after the
// other, so that a new process costs the kernel less.
func (r Rules) Program() ([]bpf.RawInstruction, error) {
	instructions, err := tree(r.spans())
	if err != nil {
		return nil, fmt.Errorf("assemble the filter of %s: %w", r.ABI.Name, err)
	}
	raw, err := bpf.Assemble(instructions)
	if err != nil {
		return nil, fmt.Errorf("assemble the filter of %s: %w", r.ABI.Name, err)
	}
	return raw, nil
}

func (r Rules) spans() []span {
	rules := make([]Rule, r.Newest+1)
	for i := range rules {
		rules[i] = refused
	}
	for name, rule := range r.ByName {
		rules[r.ABI.Calls[name]] = rule
	}
	var all []span
	for i, rule := range append(rules, Rule{Errno: unix.ENOSYS}) {
		last := len(all) - 1
		if i == 0 || len(rule.When) > 0 || len(all[last].rule.When) > 0 || all[last].rule.Errno != rule.Errno {
			all = append(all, span{uint32(i), rule})
		}
	}
	return all
}

// tree is a binary search for the span of the number in the accumulator.
func tree(spans []span) ([]bpf.Instruction, error) {
	if len(spans) == 1 {
		return spans[0].rule.leaf()
	}
	half := len(spans) / 2
	below, err := tree(spans[:half])
	if err != nil {
		return nil, err
	}
	above, err := tree(spans[half:])
	if err != nil {
		return nil, err
	}
	jump := bpf.JumpIf{Cond: bpf.JumpGreaterOrEqual, Val: spans[half].first}
	head := []bpf.Instruction{jump}
	if len(below) <= 255 {
		jump.SkipTrue = uint8(len(below))
		head[0] = jump
	} else {
		jump.SkipFalse = 1
		head = []bpf.Instruction{jump, bpf.Jump{Skip: uint32(len(below))}}
	}
	return append(append(head, below...), above...), nil
}

// leaf is what happens once the system call is known.
func (r Rule) leaf() ([]bpf.Instruction, error) {
	if r.Errno != 0 {
		return []bpf.Instruction{fail(r.Errno)}, nil
	}
	allow := bpf.RetConstant{Val: unix.SECCOMP_RET_ALLOW}
	if len(r.When) == 0 {
		return []bpf.Instruction{allow}, nil
	}
	var all []bpf.Instruction
	for _, conditions := range r.When {
		alternative := []bpf.Instruction{allow}
		for i := len(conditions) - 1; i >= 0; i-- {
			c, err := conditions[i].code(len(alternative))
			if err != nil {
				return nil, err
			}
			alternative = append(c, alternative...)
		}
		all = append(all, alternative...)
	}
	return append(all, fail(unix.EPERM)), nil
}

func fail(e unix.Errno) bpf.Instruction {
	return bpf.RetConstant{Val: unix.SECCOMP_RET_ERRNO | uint32(e)}
}

// code goes on with the next instruction where the condition holds, and else skips
// the rest of the alternative. A program sees 32 bits of an argument at once, and
// the low half comes first on the machines that Nearcast runs on.
func (c Condition) code(rest int) ([]bpf.Instruction, error) {
	const arguments, wide = 16, 8 // in struct seccomp_data
	if c.Argument > 5 {
		return nil, fmt.Errorf("there is no argument %d", c.Argument)
	}
	if rest > 250 {
		return nil, fmt.Errorf("%d instructions of conditions are too many for a jump", rest)
	}
	low := bpf.LoadAbsolute{Off: arguments + wide*uint32(c.Argument), Size: 4}
	high := bpf.LoadAbsolute{Off: low.Off + 4, Size: 4}
	valueHigh, valueLow := uint32(c.Value>>32), uint32(c.Value)
	no := func(more int) uint8 { return uint8(more + rest) }
	switch c.Is {
	case Equal:
		return []bpf.Instruction{
			high, bpf.JumpIf{Cond: bpf.JumpEqual, Val: valueHigh, SkipFalse: no(2)},
			low, bpf.JumpIf{Cond: bpf.JumpEqual, Val: valueLow, SkipFalse: no(0)},
		}, nil
	case NotEqual:
		return []bpf.Instruction{
			high, bpf.JumpIf{Cond: bpf.JumpEqual, Val: valueHigh, SkipFalse: 2},
			low, bpf.JumpIf{Cond: bpf.JumpEqual, Val: valueLow, SkipTrue: no(0)},
		}, nil
	case Less:
		return []bpf.Instruction{
			high, bpf.JumpIf{Cond: bpf.JumpGreaterThan, Val: valueHigh, SkipTrue: no(3)},
			bpf.JumpIf{Cond: bpf.JumpEqual, Val: valueHigh, SkipFalse: 2},
			low, bpf.JumpIf{Cond: bpf.JumpGreaterOrEqual, Val: valueLow, SkipTrue: no(0)},
		}, nil
	case NotLess:
		return []bpf.Instruction{
			high, bpf.JumpIf{Cond: bpf.JumpGreaterThan, Val: valueHigh, SkipTrue: 3},
			bpf.JumpIf{Cond: bpf.JumpEqual, Val: valueHigh, SkipFalse: no(2)},
			low, bpf.JumpIf{Cond: bpf.JumpGreaterOrEqual, Val: valueLow, SkipFalse: no(0)},
		}, nil
	case Without:
		return []bpf.Instruction{
			high, bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: valueHigh, SkipTrue: no(2)},
			low, bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: valueLow, SkipTrue: no(0)},
		}, nil
	}
	return nil, fmt.Errorf("there is no comparison %d", c.Is)
}
