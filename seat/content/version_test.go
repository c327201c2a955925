package content

import (
	"bytes"
	"path/filepath"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/wire"
)

// A store that keeps versions: a job that names one gets that one, after the object was
// replaced and after it was deleted. In one request, and in parts.
func TestVersionID(t *testing.T) {
	for name, size := range map[string]int{"whole": 1000, "parts": wholeSize + 1000} {
		t.Run(name, func(t *testing.T) {
			server := testkit.StartS3(t, "us-east-1", "models", "--versioning-dir", t.TempDir())
			s := &store{settings: wire.S3{Endpoint: server.URL, Region: "us-east-1", PathStyle: true}}
			client, err := s.open(t.Context())
			testkit.Must(t, err)
			_, err = client.PutBucketVersioning(t.Context(), &s3.PutBucketVersioningInput{
				Bucket: aws.String("models"), VersioningConfiguration: &types.VersioningConfiguration{Status: types.BucketVersioningStatusEnabled},
			})
			testkit.Must(t, err)
			put := func(data []byte) string {
				t.Helper()
				out, err := client.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String("models"), Key: aws.String("m"), Body: bytes.NewReader(data)})
				testkit.Must(t, err)
				return aws.ToString(out.VersionId)
			}
			first, second := noise(size, 1), noise(size, 2)
			one := put(first)
			two := put(second)
			if one == "" || one == two {
				t.Fatalf("the store keeps no versions: %q, %q", one, two)
			}
			n := newNode(t, server.URL)
			want := func(dest, version string, data []byte) {
				t.Helper()
				fetchOK(t, n.request(wire.Content{Source: "s3://models/m", Destination: dest, VersionID: version}))
				wantFile(t, filepath.Join(n.task, dest), data)
			}
			want("present", "", second)
			want("one", one, first)
			want("two", two, second)
			_, err = client.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: aws.String("models"), Key: aws.String("m")})
			testkit.Must(t, err)
			n.cache.Dir, n.task = t.TempDir(), t.TempDir()
			want("one", one, first)
		})
	}
}
