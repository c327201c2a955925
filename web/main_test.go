package web_test

import (
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == relayArg {
		fmt.Fprintln(os.Stderr, relayMain(os.Args[2]))
		os.Exit(1)
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		if npm.dir != "" {
			_ = os.RemoveAll(npm.dir)
		}
		os.Exit(code)
	}))
}
