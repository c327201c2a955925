package platform_test

import (
	"bytes"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/wire"
	"github.com/nearcast/nearcast/jobs/platform"
	"github.com/nearcast/nearcast/provision"
	"github.com/nearcast/nearcast/provision/nodetest"
)

// TestPrefetch runs the job prefetch of nearcast cloud up at a site of two stream nodes under
// all policies: both have an app's content before anybody asks, also the second, which comes when
// the first has it. It tries what the job's token must not do.
func TestPrefetch(t *testing.T) {
	store := testkit.StartS3(t, "us-east-1", "content")
	n := newNodes(t, 1, provision.S3{Endpoint: store.URL, Region: store.Region, PathStyle: true})
	n.upload(store, map[string]int{"viewer/scene": 3 << 20, "one/scene": 1 << 20})
	credentials := func(stream *nodetest.Node) { // as the role of a node in a cloud
		file := filepath.Join(stream.Dir, ".aws", "credentials")
		testkit.Must(t, os.MkdirAll(filepath.Dir(file), 0o700))
		testkit.Must(t, os.WriteFile(file, fmt.Appendf(nil, "[default]\naws_access_key_id = %s\naws_secret_access_key = %s\n", os.Getenv("AWS_ACCESS_KEY_ID"), os.Getenv("AWS_SECRET_ACCESS_KEY")), 0o600))
	}
	credentials(n.streams[0])
	n.run(n.publisher, withContent("viewer", nil))
	one := []map[string]string{{"LTarget": "${node.unique.name}", "Operand": "=", "RTarget": "stream-4"}}
	n.run(n.publisher, withContent("one", map[string]any{"Constraints": one}))

	n.deploy("prefetch", fmt.Sprintf("driver = \"raw_exec\"\nbinary = %q\nevery = \"1s\"\n", filepath.Join(n.bin, "nearcast")))
	n.until("both apps were fetched", func() error {
		var record struct{ Items map[string]string }
		err := n.get("/v1/var/nearcast/prefetch?namespace="+wire.FetchNamespace, &record)
		if err == nil && (record.Items["viewer"] == "" || record.Items["one"] == "") {
			err = fmt.Errorf("fetched: %v", record.Items)
		}
		return err
	})
	if got := n.fetches(); !slices.Equal(got, []string{"viewer on stream-3: complete"}) {
		t.Errorf("fetches: %q", got)
	}
	n.streams = append(n.streams, n.start(provision.Stream, 4))
	credentials(n.streams[1])
	want := []string{"one on stream-4: complete", "viewer on stream-3: complete", "viewer on stream-4: complete"}
	n.until("the second node has both", func() error {
		if got := n.fetches(); !slices.Equal(got, want) {
			return fmt.Errorf("fetches: %q, want %q", got, want)
		}
		return nil
	})
	for i, want := range [][]int64{{3 << 20}, {1 << 20, 3 << 20}} {
		if got := cached(t, n.streams[i]); !slices.Equal(got, want) {
			t.Errorf("the cache of %s has files of %d bytes, want %d", n.streams[i].Values.Node, got, want)
		}
	}

	// What somebody could do who takes the process over.
	token := n.environ(n.edge.Dir, "prefetch", "NOMAD_TOKEN")
	const denied = "Permission denied"
	for what, c := range map[string]struct {
		job  map[string]any
		want string
	}{
		"replaces an app":  {withContent("viewer", nil), denied},
		"runs a new app":   {app("mine", nil), denied},
		"runs in default":  {app("mine", map[string]any{"Namespace": "default"}), denied},
		"runs as anything": {app("mine", map[string]any{"Namespace": wire.FetchNamespace, "TaskGroups": rawGroups()}), `used task driver "raw_exec" is not allowed in namespace "fetches"`},
	} {
		if status, text := n.register(token, c.job); status == http.StatusOK || !strings.Contains(text, c.want) {
			t.Errorf("the job's token %s: %d %s, want %q", what, status, text, c.want)
		}
	}
	// Nothing else is wrong with these jobs.
	for _, job := range []map[string]any{app("mine", nil), app("mine", map[string]any{"Namespace": "default", "TaskGroups": rawGroups()})} {
		n.run(n.management, job)
		n.end(job["Namespace"].(string), "mine")
	}
	for _, c := range [][2]string{
		{"GET", "/v1/var/nomad/jobs/turn"}, {"PUT", "/v1/node/a0000000-0000-0000-0000-000000000000/eligibility"}, {"DELETE", "/v1/job/viewer?namespace=apps"}, {"PUT", "/v1/job/viewer/dispatch?namespace=apps"},
	} {
		if status, text := n.ask(token, c[0], c[1], map[string]any{}); !strings.Contains(text, "Permission denied") {
			t.Errorf("the job's token, %s %s: %d %s", c[0], c[1], status, text)
		}
	}
	// A node starts no program for it. In the namespace apps the same job runs (TestPublisher).
	n.run(token, app("mine", map[string]any{"Namespace": wire.FetchNamespace}))
	n.says(wire.FetchNamespace, "mine", "only fetch content")
}

// withContent is an app that has content below its name.
func withContent(id string, more map[string]any) map[string]any {
	job := app(id, map[string]any{"ParameterizedJob": map[string]any{}})
	maps.Copy(job, more)
	task(job)["Config"].(map[string]any)["content"] = []any{map[string]any{"source": "s3://content/" + id + "/", "destination": "local"}}
	return job
}

func rawGroups() []any {
	job := app("raw", nil)
	task(job)["Driver"], task(job)["Config"] = "raw_exec", map[string]any{"command": "/bin/true"}
	return job["TaskGroups"].([]any)
}

// upload puts files of some size into the store.
func (n *nodes) upload(store *testkit.S3, files map[string]int) {
	n.t.Helper()
	settings, err := config.LoadDefaultConfig(n.ctx, config.WithRegion(store.Region))
	testkit.Must(n.t, err)
	client := s3.NewFromConfig(settings, func(o *s3.Options) { o.BaseEndpoint, o.UsePathStyle = &store.URL, true })
	for key, size := range files {
		_, err := client.PutObject(n.ctx, &s3.PutObjectInput{Bucket: aws.String("content"), Key: &key, Body: bytes.NewReader(bytes.Repeat([]byte{byte(size >> 20)}, size))})
		testkit.Must(n.t, err)
	}
}

// deploy registers a job with the source and the variables with which nearcast cloud up does, and waits
// for its deployment.
func (n *nodes) deploy(name, variables string) {
	n.t.Helper()
	var job map[string]any
	n.must("PUT", "/v1/jobs/parse", map[string]any{"JobHCL": platform.Source(name), "Variables": variables}, &job)
	n.must("PUT", "/v1/jobs", map[string]any{"Job": job}, nil)
	n.until(name+" is deployed", func() error {
		var last struct{ Status string }
		err := n.get("/v1/job/"+name+"/deployment", &last)
		if err == nil && last.Status != "successful" {
			err = fmt.Errorf("its deployment is %q", last.Status)
		}
		return err
	})
}

// fetches says what became of the fetches on each node.
func (n *nodes) fetches() (out []string) {
	n.t.Helper()
	var allocs []struct{ JobID, NodeName, ClientStatus string }
	n.must("GET", "/v1/allocations?namespace="+wire.FetchNamespace, nil, &allocs)
	for _, a := range allocs {
		of, _, _ := strings.Cut(a.JobID, "-prefetch-")
		out = append(out, fmt.Sprintf("%s on %s: %s", of, a.NodeName, a.ClientStatus))
	}
	slices.Sort(out)
	return out
}

// cached are the sizes of the files in a node's cache.
func cached(t *testing.T, node *nodetest.Node) (sizes []int64) {
	t.Helper()
	files, err := os.ReadDir(filepath.Join(node.Values.Paths.Cache, "objects"))
	testkit.Must(t, err)
	for _, f := range files {
		info, err := f.Info()
		testkit.Must(t, err)
		sizes = append(sizes, info.Size())
	}
	slices.Sort(sizes)
	return sizes
}
