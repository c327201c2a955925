package feed

import (
	"fmt"
	"testing"
)

// A snapshot that comes in several messages is told once, as a whole.
func TestWhole(t *testing.T) {
	var told []string
	take := Whole(func(m Message[int]) error {
		told = append(told, fmt.Sprint(m.All, m.Set, m.Brief, m.Gone))
		return nil
	})
	for _, m := range []Message[int]{
		{Seq: 1, All: true, More: true, Set: map[string]int{"a": 1}},
		{Seq: 2, Set: map[string]int{"b": 2}},
		{Seq: 3, Set: map[string]int{"a": 3}, Gone: []string{"b"}},
		{Seq: 4, Brief: map[string]string{"a": "x"}},
	} {
		if err := take(m); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := fmt.Sprint(told), "[true map[a:1 b:2] map[] [] false map[a:3] map[] [b] false map[] map[a:x] []]"; got != want {
		t.Errorf("told %s, want %s", got, want)
	}
}
