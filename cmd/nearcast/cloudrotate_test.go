package main

import (
	"errors"
	"strings"
	"testing"

	"github.com/nearcast/nearcast/cloud"
	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/provision/awsapi"
	"github.com/nearcast/nearcast/provision/awsapi/awstest"
)

// TestStores: two operators rotate at once, and the second one to write loses nothing of the first.
func TestStores(t *testing.T) {
	ctx, aws := t.Context(), awstest.New(t)
	sites := []cloud.Site{{Name: "a-1", Secrets: map[string]string{"servers": "a"}}, {Name: "b-1", Secrets: map[string]string{"servers": "b"}}}
	open := func() stores {
		client := aws.Client()
		return stores{sites, map[string]*awsapi.Client{"a-1": client, "b-1": client}, map[string]string{}}
	}
	for _, name := range []string{"a", "b"} {
		aws.NewSecret(name)
		testkit.Must(t, aws.Client().PutFirstSecret(ctx, name, `{"x":"first"}`))
	}
	one, two := open(), open()
	for _, s := range []stores{one, two} {
		if files, err := s.Read(ctx); err != nil || files["x"] != "first" {
			t.Fatalf("%v, %v", files, err)
		}
	}
	for _, x := range []string{"second", "third"} { // a rotation writes often, and reads once
		testkit.Must(t, one.Write(ctx, map[string]string{"x": x}))
	}
	if err := two.Write(ctx, map[string]string{"x": "lost"}); !errors.Is(err, cloud.ErrChanged) {
		t.Errorf("a write after another one's: %v", err)
	}
	for _, name := range []string{"a", "b"} {
		if has, err := aws.Client().Secret(ctx, name); err != nil || has != `{"x":"third"}` {
			t.Errorf("%s has %s, %v", name, has, err)
		}
	}
}

func TestLostSite(t *testing.T) {
	sites := func(names ...string) (o cloud.Outputs) {
		for _, name := range names {
			o.Sites = append(o.Sites, cloud.Site{Name: name})
		}
		return o
	}
	for _, c := range []struct {
		o           cloud.Outputs
		lost        bool
		named, want string
		wrong       string
	}{
		{o: sites("b", "a"), lost: true, want: "a"},
		{o: sites("b", "a")},
		{o: sites("b"), lost: true},
		{o: sites("b", "a", "c"), lost: true, wrong: "--lost-site (a, c)"},
		{o: sites("b", "a", "c"), lost: true, named: "c", want: "c"},
		{o: sites("b", "a"), named: "b", wrong: "b is the primary site already"},
	} {
		got, err := lostSite(c.o, c.lost, c.named)
		if got != c.want || (err != nil) != (c.wrong != "") || err != nil && !strings.Contains(err.Error(), c.wrong) {
			t.Errorf("%v, --lost %t, --lost-site %q: %q, %v", c.o.Names(), c.lost, c.named, got, err)
		}
	}
}
