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
)

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
