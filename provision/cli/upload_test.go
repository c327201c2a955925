package cli

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/nearcast/nearcast/internal/testkit"
)

// TestMain is the program nearcast where TestBackupScript says so.
func TestMain(m *testing.M) {
	if os.Getenv(asNearcast) == "" {
		os.Exit(m.Run())
	}
	c := Command() // "nearcast provision"
	c.SilenceErrors, c.SilenceUsage = true, true
	c.SetArgs(os.Args[2:])
	if err := c.Execute(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

const asNearcast = "NEARCAST_TEST_IS_NEARCAST"

// TestBackupScript: backup.sh uploads what Consul and Nomad saved to a bucket in another region than the
// site's, and needs to be told that region. Consul and Nomad are stand-ins; the object store is real.
func TestBackupScript(t *testing.T) {
	const bucket = "backups"
	server := testkit.StartS3(t, "eu-west-1", bucket)
	ctx := testkit.Context(t, time.Minute)
	account, err := config.LoadDefaultConfig(ctx)
	testkit.Must(t, err)
	store := s3.New(s3.Options{BaseEndpoint: aws.String(server.URL), Region: server.Region, UsePathStyle: true, Credentials: account.Credentials})
	self, err := os.Executable()
	testkit.Must(t, err)
	dir := t.TempDir()
	put := func(name, text string) {
		t.Helper()
		testkit.Must(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755))
		testkit.Must(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755))
	}
	put("secrets/consul-management.token", "c")
	put("secrets/nomad-management.token", "n")
	put("bin/nearcast", "#!/bin/sh\n"+asNearcast+"=yes exec "+self+" \"$@\"\n")
	put("bin/consul", "#!/bin/sh\ncase $1 in info) printf 'leader = true\\nleader_addr = 10.0.0.1:8300\\n' ;; *) echo of consul >\"$3\" ;; esac\n")
	put("bin/nomad", "#!/bin/sh\necho of nomad >\"$4\"\n")
	backup := func(region string) (string, error) {
		put("provision.env", "NEARCAST_ROLE='server'\nNEARCAST_SITE='eu-central-1'\nNEARCAST_S3_ENDPOINT='"+server.URL+
			"'\nNEARCAST_S3_PATH_STYLE='yes'\nNEARCAST_BACKUP_URL='s3://"+bucket+"/backups'\n"+region)
		cmd := exec.CommandContext(ctx, "../backup.sh", "once")
		cmd.Env = append(os.Environ(), "PATH="+filepath.Join(dir, "bin")+":"+os.Getenv("PATH"), "NEARCAST_ENV="+filepath.Join(dir, "provision.env"), "NEARCAST_SECRETS="+filepath.Join(dir, "secrets"))
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	if out, err := backup(""); err == nil || !strings.Contains(out, "region") {
		t.Errorf("with the site's region: %v: %s", err, out)
	}
	if out, err := backup("NEARCAST_BACKUP_REGION='eu-west-1'\n"); err != nil || strings.Contains(out, "unknown") {
		t.Fatalf("with the bucket's region: %v: %s", err, out)
	}
	list, err := store.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: aws.String(bucket)})
	testkit.Must(t, err)
	saved := map[string]string{}
	for _, o := range list.Contents {
		got, err := store.GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String(bucket), Key: o.Key})
		testkit.Must(t, err)
		text, err := io.ReadAll(got.Body)
		got.Body.Close()
		testkit.Must(t, err)
		program, _, _ := strings.Cut(strings.TrimPrefix(*o.Key, "backups/"), "-")
		saved[program] = string(text)
	}
	if want := map[string]string{"consul": "of consul\n", "nomad": "of nomad\n"}; !maps.Equal(saved, want) {
		t.Errorf("the bucket holds %v; want %v", saved, want)
	}
}

// TestUpload uploads to a real object store, and checks the errors of wrong arguments.
func TestUpload(t *testing.T) {
	const bucket = "backups"
	server := testkit.StartS3(t, "site-a", bucket)
	ctx := testkit.Context(t, time.Minute)
	account, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		t.Fatal(err)
	}
	store := s3.New(s3.Options{BaseEndpoint: aws.String(server.URL), Region: server.Region, UsePathStyle: true, Credentials: account.Credentials})

	dir := t.TempDir()
	env, file, text := filepath.Join(dir, "provision.env"), filepath.Join(dir, "a.snap"), bytes.Repeat([]byte("snapshot"), 1<<17)
	for path, text := range map[string][]byte{
		env: []byte("NEARCAST_ROLE='server'\nNEARCAST_SITE='site-a'\nNEARCAST_S3_ENDPOINT='" + server.URL +
			"'\nNEARCAST_S3_PATH_STYLE='yes'\nNEARCAST_BACKUP_URL='s3://" + bucket + "'\n"),
		file: text,
	} {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	run := func(file, to string) error {
		c := Command()
		c.SilenceErrors, c.SilenceUsage = true, true
		c.SetArgs([]string{"upload", "--env", env, file, to})
		return c.ExecuteContext(ctx)
	}
	if err := run(file, "s3://"+bucket+"/backups/a.snap"); err != nil {
		t.Fatal(err)
	}
	got, err := store.GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String(bucket), Key: aws.String("backups/a.snap")})
	if err != nil {
		t.Fatal(err)
	}
	defer got.Body.Close()
	if there, err := io.ReadAll(got.Body); err != nil || !bytes.Equal(there, text) {
		t.Errorf("the object holds %d bytes, %v; want %d", len(there), err, len(text))
	}

	for _, wrong := range []struct{ file, to, say string }{
		{file, "https://" + bucket + "/a", "is not s3://BUCKET/KEY"},
		{file, "s3://" + bucket, "is not s3://BUCKET/KEY"},
		{filepath.Join(dir, "none"), "s3://" + bucket + "/a", "no such file"},
		{file, "s3://no-such-bucket/a", "NoSuchBucket"},
	} {
		if err := run(wrong.file, wrong.to); err == nil || !strings.Contains(err.Error(), wrong.say) {
			t.Errorf("upload %s %s: %v, want it to say %q", wrong.file, wrong.to, err, wrong.say)
		}
	}
}
