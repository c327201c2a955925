package seat

import (
	"errors"
	"fmt"

	"github.com/nearcast/nearcast/internal/wire"
)

// fault is the end of a seat that failed.
func fault(code, format string, args ...any) wire.End {
	return wire.End{Reason: wire.ReasonError, Code: code, Detail: fmt.Sprintf(format, args...)}
}

// asEnd returns err if it is an end already, else a fault with code.
func asEnd(err error, code string) wire.End {
	var end wire.End
	if errors.As(err, &end) {
		return end
	}
	return fault(code, "%v", err)
}
