package router

import (
	"strings"
	"testing"
)

// TestOperators: while their token is replaced, the old and the new one are good, and no part of them.
func TestOperators(t *testing.T) {
	old, fresh := strings.Repeat("o", 64), strings.Repeat("n", 64)
	both, err := newOperators(fresh + "\n" + old + "\n")
	if err != nil || !both.is(old) || !both.is(fresh) || both.is(fresh+"\n"+old) || both.is("") || both.is(old[:63]) {
		t.Errorf("%d tokens, %v", len(both), err)
	}
	if none, err := newOperators("\n"); err != nil || none.is("") {
		t.Errorf("an empty file: %v", err)
	}
	for text, want := range map[string]string{"short": "too short", fresh + "\nshort": "too short", strings.Repeat(old+"\n", 3): "at most 2"} {
		if _, err := newOperators(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}
