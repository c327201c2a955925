package cloud

import (
	"slices"
	"strings"
	"testing"
)

func TestReadOutputs(t *testing.T) {
	o, err := ReadOutputs([]byte(twoSites))
	if err != nil || !slices.Equal(o.Names(), []string{"a-1", "b-1"}) || o.Domain() != "play.example" || o.Sites[0].Servers != 3 {
		t.Errorf("%+v, %v", o, err)
	}
	for text, want := range map[string]string{
		`{`:                                    "terraform output -json",
		`{"a-1": {"router_url": "https://x"}}`: "the outputs have no sites",
		`{"sites": {"value": {}}}`:             "has not made one yet",
		`{"sites": {"value": {"a": {}, "b": {}}}}`:                               "0 primary sites",
		strings.Replace(twoSites, `"edge_nodes": 3`, `"edge_nodes": 1`, 1):       "site b-1: edge_nodes is 1",
		strings.Replace(twoSites, `wss://brain.b-1`, `https://brain.b-1`, 1):     "site b-1: brain_url",
		strings.Replace(twoSites, `"min": 0, "max": 9`, `"min": 3, "max": 2`, 1): "pool stream-cpu",
		strings.Replace(twoSites, `"primary": false`, `"primary": true`, 1):      "2 primary sites",
		strings.Replace(twoSites, `"edge_nodes": 3`, `"edge_nodes": "three"`, 1): "read the output sites",
	} {
		if _, err := ReadOutputs([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60s: %v, want %q", text, err, want)
		}
	}
	if _, err := ReadOutputs([]byte(`{"sites": {"value": {"one": {"edge_nodes": 2, "router_url": "http://127.0.0.1:1", "brain_url": "ws://127.0.0.1:1/v1/connect"}}}}`)); err != nil {
		t.Errorf("a site of one machine: %v", err)
	}
	if _, err := o.Only([]string{"c-1"}); err == nil || !strings.Contains(err.Error(), "there are: a-1, b-1") {
		t.Errorf("an unknown site: %v", err)
	}
}

func TestSettings(t *testing.T) {
	o, err := ReadOutputs([]byte(twoSites))
	if err != nil {
		t.Fatal(err)
	}
	settings, err := o.ParseSettings([]string{`brain.options=["--gpu=l4"]`, "router.count=5", "b-1/router.count=1", "router.binary=/x ${y}", "prefetch.every=0s", "b-1/prefetch.every=1m"})
	if err != nil {
		t.Fatal(err)
	}
	text := map[string]string{}
	for _, site := range o.Sites {
		for _, job := range o.Jobs(site, settings) {
			text[site.Name+"/"+job.Name] = job.Text()
		}
	}
	for job, want := range map[string]string{
		"a-1/router": "count = \"5\"\nbinary = \"/x $${y}\"\n", "b-1/router": "count = \"1\"\nbinary = \"/x $${y}\"\n",
		"a-1/brain": `options = ["--gpu=l4"]`, "b-1/brain": `options = ["--turn=turn:turn.b-1.play.example:3478","--events=s3://system-b/events?region=b-1","--gpu=l4"]`,
		"b-1/turn": "realm = \"play.example\"\nrelay_ports = \"21000-21999\"\n",
	} {
		if !strings.Contains(text[job], want) || strings.Count(text[job], "count = ") != 1 {
			t.Errorf("%s: %s", job, text[job])
		}
	}
	if options := brainOptions(o.Sites[1], []string{"--events=/var/events"}); !slices.Equal(options, []string{"--turn=turn:turn.b-1.play.example:3478", "--events=/var/events"}) {
		t.Errorf("options with a place of events: %q", options)
	}
	for bad, want := range map[string]string{
		"router.options=--residency=eu": "a list of strings", "a-1/console.url=u\nb-1/console.port=1": "name one of them", "console.port=1": "console.url is missing",
		"router": "has to be", "mail.count=1": "there are: router, turn", "c-1/router.count=1": "there are: a-1, b-1", "router.size=1": "has no variable size",
		"prefetch.every=0m": "prefetch.every=0m has to be a time of more than 0", "prefetch.every=00": "more than 0", "b-1/prefetch.every=-1s": "more than 0",
	} {
		if _, err := o.ParseSettings(strings.Split(bad, "\n")); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

func TestPlanWords(t *testing.T) {
	words, complaint := planWords([]byte(`{"@level":"info","type":"planned_change","change":{"resource":{"addr":"aws_s3_bucket.b"},"action":"create"}}
not JSON
{"@level":"info","type":"planned_change","change":{"resource":{"addr":"aws_s3_bucket.a"},"action":"delete"}}
{"@level":"error","@message":"no credentials"}
`))
	if !slices.Equal(words, []string{"terraform would DELETE 1: aws_s3_bucket.a", "terraform would create 1: aws_s3_bucket.b"}) || complaint != "no credentials; " {
		t.Errorf("%q, %q", words, complaint)
	}
}
