package feed

import (
	"fmt"
	"testing"
)

// A snapshot that comes in several messages is told once, as a whole.
func TestWhole(t *testing.T) {
	var told []string
	take := Whole(func(all bool, set map[string]int, gone []string) error {
		told = append(told, fmt.Sprint(all, set, gone))
		return nil
	})
	for _, m := range []Message[int]{
		{Seq: 1, All: true, More: true, Set: map[string]int{"a": 1}},
		{Seq: 2, Set: map[string]int{"b": 2}},
		{Seq: 3, Set: map[string]int{"a": 3}, Gone: []string{"b"}},
	} {
		if err := take(m); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := fmt.Sprint(told), "[true map[a:1 b:2] [] false map[a:3] [b]]"; got != want {
		t.Errorf("told %s, want %s", got, want)
	}
}
