package wire

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// Kills is how many processes of the seat the kernel ended because its memory was used
// up; 0 where that is not known.
func (m Memory) Kills() int64 {
	if m.Events == "" {
		return 0
	}
	text, err := os.ReadFile(m.Events)
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if n, ok := strings.CutPrefix(strings.TrimSpace(line), "oom_kill "); ok {
			kills, _ := strconv.ParseInt(n, 10, 64)
			return kills
		}
	}
	return 0
}

// Explain is the end of a seat, by its true cause: programs that the kernel ended for
// want of memory fail in many ways. before is how many it had ended long before the end.
func (m Memory) Explain(end End, before int64) End {
	if !end.Failed() || m.Kills() <= before {
		return end
	}
	return End{Reason: ReasonError, Code: CodeMemory, Detail: fmt.Sprintf(
		"the seat's memory limit of %d MB was reached; raise memory in the job's resources (%s)", m.LimitBytes>>20, end)}
}
