package content

import (
	"cmp"
	"context"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"
	smithyauth "github.com/aws/smithy-go/auth"
	"github.com/aws/smithy-go/encoding/httpbinding"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// getter makes the requests for objects, of which a fetch may need many thousands: with the
// SDK's endpoints, credentials, signer and HTTP client, but without the forty steps that it
// takes for each request, which cost more than all else that a small object costs.
type getter struct {
	options s3.Options
	signer  *v4.Signer

	mu      sync.Mutex
	buckets map[string]place
}

// place is where a bucket is, and how requests to it are signed.
type place struct {
	url    url.URL
	region string
	// sdk says that only the SDK can ask: the bucket has another way to sign.
	sdk bool
}

func newGetter(client *s3.Client) *getter {
	signer := v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true }) // as S3 wants it
	return &getter{options: client.Options(), signer: signer, buckets: map[string]place{}}
}

// place finds out where a bucket is, once.
func (g *getter) place(ctx context.Context, bucket string) (place, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if p, ok := g.buckets[bucket]; ok {
		return p, nil
	}
	o := &g.options
	at, err := o.EndpointResolverV2.ResolveEndpoint(ctx, s3.EndpointParameters{
		Bucket: &bucket, Region: &o.Region, Endpoint: o.BaseEndpoint, ForcePathStyle: &o.UsePathStyle,
		UseFIPS:      aws.Bool(o.EndpointOptions.UseFIPSEndpoint == aws.FIPSEndpointStateEnabled),
		UseDualStack: aws.Bool(o.EndpointOptions.UseDualStackEndpoint == aws.DualStackEndpointStateEnabled),
		Accelerate:   &o.UseAccelerate, UseArnRegion: &o.UseARNRegion,
		DisableMultiRegionAccessPoints: &o.DisableMultiRegionAccessPoints,
	})
	if err != nil {
		return place{}, fmt.Errorf("find the store: %w", err)
	}
	p := place{url: at.URI, region: o.Region}
	if schemes, _ := smithyauth.GetAuthOptions(&at.Properties); len(schemes) > 0 {
		p.sdk = schemes[0].SchemeID != "sigv4" // as the rules of S3's endpoints call it
		if region, ok := smithyhttp.GetSigV4SigningRegion(&schemes[0].SignerProperties); ok {
			p.region = region
		}
	}
	g.buckets[bucket] = p
	return p, nil
}

// emptySHA256 is the checksum of a body that is empty.
const emptySHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

// get asks for an object. sdk is true where only the SDK can.
func (g *getter) get(ctx context.Context, in *s3.GetObjectInput) (body io.ReadCloser, h head, sdk bool, err error) {
	at, err := g.place(ctx, *in.Bucket)
	if err != nil || at.sdk {
		return nil, h, at.sdk, err
	}
	credentials, err := g.options.Credentials.Retrieve(ctx)
	if err != nil {
		return nil, h, false, fmt.Errorf("get credentials: %w", err)
	}
	u := at.url
	u.RawPath = smithyhttp.JoinPath(u.EscapedPath(), "/"+httpbinding.EscapePath(*in.Key, false))
	u.Path = smithyhttp.JoinPath(u.Path, "/"+*in.Key)
	if in.VersionId != nil {
		u.RawQuery = "versionId=" + url.QueryEscape(*in.VersionId)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "", nil)
	if err != nil {
		return nil, h, false, err
	}
	request.URL, request.Host = &u, u.Host
	request.Header.Set("User-Agent", "nearcast")
	request.Header.Set("Accept-Encoding", "identity") // else the transport asks for gzip
	request.Header.Set("X-Amz-Content-Sha256", emptySHA256)
	if in.Range != nil {
		request.Header.Set("Range", *in.Range)
	}
	if in.IfMatch != nil {
		request.Header.Set("If-Match", *in.IfMatch)
	}
	if in.ChecksumMode != "" {
		request.Header.Set("X-Amz-Checksum-Mode", string(in.ChecksumMode))
	}
	if err := g.signer.SignHTTP(ctx, credentials, request, emptySHA256, "s3", at.region, time.Now()); err != nil {
		return nil, h, false, fmt.Errorf("sign the request: %w", err)
	}
	answer, err := g.options.HTTPClient.Do(request)
	if err != nil {
		return nil, h, false, err
	}
	if answer.StatusCode != http.StatusOK && answer.StatusCode != http.StatusPartialContent {
		defer answer.Body.Close()
		return nil, h, false, refusal(answer)
	}
	return answer.Body, headOfAnswer(answer), false, nil
}

// maxRefusal is more than a store says of an error.
const maxRefusal = 64 << 10

// refusal makes the error that the SDK makes of an answer.
func refusal(answer *http.Response) error {
	var said struct {
		Code, Message string
	}
	text, _ := io.ReadAll(io.LimitReader(answer.Body, maxRefusal))
	_ = xml.Unmarshal(text, &said) // a proxy's answer is another
	return &awshttp.ResponseError{
		RequestID: answer.Header.Get("X-Amz-Request-Id"),
		ResponseError: &smithyhttp.ResponseError{
			Response: &smithyhttp.Response{Response: answer},
			Err:      &smithy.GenericAPIError{Code: cmp.Or(said.Code, "UnknownError"), Message: said.Message},
		},
	}
}

// headOfAnswer reads the headers of an answer.
func headOfAnswer(answer *http.Response) head {
	text := func(name string) *string {
		if v := answer.Header.Get(name); v != "" {
			return &v
		}
		return nil
	}
	return headOf(&s3.HeadObjectOutput{
		ETag: text("Etag"), VersionId: text("X-Amz-Version-Id"), ContentLength: &answer.ContentLength,
		ChecksumType:   types.ChecksumType(answer.Header.Get("X-Amz-Checksum-Type")),
		ChecksumSHA256: text("X-Amz-Checksum-Sha256"), ChecksumCRC64NVME: text("X-Amz-Checksum-Crc64nvme"),
		ChecksumCRC32C: text("X-Amz-Checksum-Crc32c"), ChecksumCRC32: text("X-Amz-Checksum-Crc32"),
		ServerSideEncryption: types.ServerSideEncryption(answer.Header.Get("X-Amz-Server-Side-Encryption")),
		SSECustomerAlgorithm: text("X-Amz-Server-Side-Encryption-Customer-Algorithm"),
	})
}
