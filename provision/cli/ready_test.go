package cli

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/provision"
)

// TestOnce names what is not ready, and which part was looked at.
func TestOnce(t *testing.T) {
	dir := t.TempDir()
	env := filepath.Join(dir, "provision.env")
	if err := os.WriteFile(env, []byte("NEARCAST_ROLE='edge'\nNEARCAST_SITE='site-a'\nNEARCAST_JOIN='10.0.0.1'\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := Command()
	c.SilenceErrors, c.SilenceUsage = true, true
	said := &bytes.Buffer{}
	c.SetOut(said)
	c.SetArgs([]string{"ready", "--once", "--env", env, "--secrets", dir})
	if err := c.ExecuteContext(t.Context()); err == nil || err.Error() != "this node is not ready" {
		t.Errorf("it ended with %v", err)
	}
	if got := said.String(); !strings.HasPrefix(got, "configuration  not ready: load secrets: ") || strings.Contains(got, "nomad  ") {
		t.Errorf("it says %q", got)
	}
}

// TestReport: why a node is given up stands in the bucket, below its group's name.
func TestReport(t *testing.T) {
	const bucket = "system"
	server := testkit.StartS3(t, "site-a", bucket)
	ctx := testkit.Context(t, time.Minute)
	account, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		t.Fatal(err)
	}
	v := provision.Values{Role: provision.Edge, Site: "site-a"}
	v.Cloud.Group, v.Cloud.Reports = "prod-edge", "s3://"+bucket+"/nodes"
	v.Stream.S3 = provision.S3{Endpoint: server.URL, Region: server.Region, PathStyle: true}
	if err := keep(ctx, v, "i-1", "consul: no leader"); err != nil {
		t.Fatal(err)
	}
	store := s3.New(s3.Options{BaseEndpoint: aws.String(server.URL), Region: server.Region, UsePathStyle: true, Credentials: account.Credentials})
	got, err := store.GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String(bucket), Key: aws.String("nodes/prod-edge/i-1.txt")})
	if err != nil {
		t.Fatal(err)
	}
	defer got.Body.Close()
	text, err := io.ReadAll(got.Body)
	if err != nil || !strings.Contains(string(text), "i-1 of prod-edge in site-a\n\nconsul: no leader\n") {
		t.Errorf("the report is %q, %v", text, err)
	}
}
