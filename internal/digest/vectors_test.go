package digest

import (
	"crypto/sha512"
	"encoding/hex"
	"strings"
	"testing"
)

// Worked examples of the RFCs.
func TestVectors(t *testing.T) {
	tests := []struct {
		name                           string
		alg                            Algorithm
		user, password, realm          string
		nonce, nc, cnonce, method, uri string
		qop                            QOP
		body                           string
		want                           string
	}{
		{
			name: "RFC 2617 3.5", alg: MD5, qop: QOPAuth,
			user: "Mufasa", password: "Circle Of Life", realm: "testrealm@host.com",
			nonce: "dcd98b7102dd2f0e8b11d0f600bfb0c093", nc: "00000001", cnonce: "0a4f113b",
			method: "GET", uri: "/dir/index.html",
			want: "6629fae49393a05397450978507c4ef1",
		},
		{
			name: "RFC 7616 3.9.1 MD5", alg: MD5, qop: QOPAuth,
			user: "Mufasa", password: "Circle of Life", realm: "http-auth@example.org",
			nonce: "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", nc: "00000001", cnonce: "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ",
			method: "GET", uri: "/dir/index.html",
			want: "8ca523f5e9506fed4657c9700eebdbec",
		},
		{
			name: "RFC 7616 3.9.1 SHA-256", alg: SHA256, qop: QOPAuth,
			user: "Mufasa", password: "Circle of Life", realm: "http-auth@example.org",
			nonce: "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", nc: "00000001", cnonce: "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ",
			method: "GET", uri: "/dir/index.html",
			want: "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1",
		},
		{
			// The response printed in the RFC was made with truncated SHA-512; this is the one of its erratum 4897.
			name: "RFC 7616 3.9.2 SHA-512-256", alg: SHA512256, qop: QOPAuth,
			user: "Jäsøn Doe", password: "Secret, or not?", realm: "api@example.org",
			nonce: "5TsQWLVdgBdmrQ0XsxbDODV+57QdFR34I9HAbC/RVvkK", nc: "00000001", cnonce: "NTg6RKcb9boFIAS3KrFK9BGeh+iDa/sm6jUMp2wds69v",
			method: "GET", uri: "/doe.json",
			want: "3798d4131c277846293534c3edc11bd8a5e4cdcbff78b05db9d95eeb1cec68a5",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			key := sessionKey(tt.alg, secret(tt.alg, tt.user, tt.realm, tt.password), tt.nonce, tt.cnonce)
			got := response(tt.alg, key, tt.nonce, tt.nc, tt.cnonce, tt.qop, tt.method, tt.uri, []byte(tt.body))
			if got != tt.want {
				t.Errorf("response = %s, want %s", got, tt.want)
			}
		})
	}
}

// RFC 7616 §3.9.2 prints digests that are the first half of SHA-512, which is not SHA-512/256 (FIPS 180-4 §5.3.6.2). Having both shows that the
// vector above differs from the RFC for that reason alone.
func TestRFC7616Section392AsPrinted(t *testing.T) {
	half := func(s string) string {
		sum := sha512.Sum512([]byte(s))
		return hex.EncodeToString(sum[:32])
	}
	ha1 := half("Jäsøn Doe:api@example.org:Secret, or not?")
	ha2 := half("GET:/doe.json")
	got := half(strings.Join([]string{ha1, "5TsQWLVdgBdmrQ0XsxbDODV+57QdFR34I9HAbC/RVvkK", "00000001", "NTg6RKcb9boFIAS3KrFK9BGeh+iDa/sm6jUMp2wds69v", "auth", ha2}, ":"))
	if want := "ae66e67d6b427bd3f120414a82e4acff38e8ecd9101d6c861229025f607a79dd"; got != want {
		t.Errorf("response = %s, want the %s of the RFC", got, want)
	}
	if got, want := half("Jäsøn Doe:api@example.org"), "488869477bf257147b804c45308cd62ac4e25eb717b12b298c79e62dcea254ec"; got != want {
		t.Errorf("user hash = %s, want the %s of the RFC", got, want)
	}
}

// The RFCs have no worked example of auth-int, of -sess, of rspauth (the empty method) or of the legacy form in SIP. These were put together from
// RFC 7616 §3.4 and §3.5 with printf and "openssl dgst".
func TestShellVectors(t *testing.T) {
	tests := []struct {
		alg    Algorithm
		qop    QOP
		method string
		want   string
	}{
		{MD5, QOPNone, "INVITE", "ad54c709a8ba0e8be0a11f5d91bc879c"},
		{MD5, QOPAuth, "INVITE", "0feecaa933b7b192039885b9b5f93659"},
		{MD5, QOPAuth, "", "11940bee9155c5876b40485040ef3b85"},
		{MD5, QOPAuthInt, "INVITE", "637113ba4c0de5c4de0a8cab163c1090"},
		{MD5, QOPAuthInt, "", "97274ca48abf523b8bfd82bbb074deb6"},
		{MD5Sess, QOPAuth, "INVITE", "45332a874f9fe4bf54ac7a4659be7c58"},
		{MD5Sess, QOPAuth, "", "4cb91b87b57527e90b94cf13d02ed754"},
		{MD5Sess, QOPAuthInt, "INVITE", "4d2a2ed0e434b71821b2f9a5ecab7ccf"},
		{MD5Sess, QOPAuthInt, "", "9af4632be738f6ef1480f59940425d2c"},
		{SHA256, QOPNone, "INVITE", "daef2aee1c0691e28003e57a11608e8fc9f1978df2974e8e3dcae4aee6828103"},
		{SHA256, QOPAuth, "INVITE", "726d582d4ebd5c4ab888148eebcda6141ac396884e43edbd904e7cce3f507f8c"},
		{SHA256, QOPAuth, "", "17011522861217a48e9848892f1563a44a7e583de5d9f4a21e7c0e5093b5c110"},
		{SHA256, QOPAuthInt, "INVITE", "c9265431e6a65182ebeddff61810edc63393913a28902a7f349a150cb2cd743c"},
		{SHA256, QOPAuthInt, "", "2535b40a08153a1e972186e45c875fc9ccf59a064abf1357f8258fc395078576"},
		{SHA256Sess, QOPAuth, "INVITE", "cde425cf38b06ec1180ab7c20380dbaacedf40e9dcf263742a51f2ec3fb62504"},
		{SHA256Sess, QOPAuth, "", "d3e840b2246452df039451f31d2b38f2729e8be9f80b4ba643d499e91ba5be15"},
		{SHA256Sess, QOPAuthInt, "INVITE", "69c73e7af0924f2e19badb721d233263792651f230cec719a798c5eb1db511ff"},
		{SHA256Sess, QOPAuthInt, "", "73cf65b98552af0a9dcb1af63fc0093252d5243f014f1f4b6a302db5fcdb796b"},
		{SHA512256, QOPNone, "INVITE", "b19df11178099b10de266673cb8423b7c2f58e7de0dc903abde732f7aa8ea902"},
		{SHA512256, QOPAuth, "INVITE", "8172a3973bdb0a2b3a919958fe4a81c01d228bd6158df2924dd5f9a701ed7e01"},
		{SHA512256, QOPAuth, "", "362bd9bb6971e552a031933cbd1d2f3a6aeae9896e3f4a121d7aab97a6e4c7ea"},
		{SHA512256, QOPAuthInt, "INVITE", "a285a21ad3f352cc61c92b429eb8abd09384411a5f37d8e37afd2baabf27c352"},
		{SHA512256, QOPAuthInt, "", "9df39ae03532ed3ecc792e589846757cf2bfbe5c0a480e63bf7c9e20301fc25b"},
		{SHA512256Sess, QOPAuth, "INVITE", "2d8b3957c1beed20c7d3eaf620bc98db802601fe3501a744a9a51698e0c719b3"},
		{SHA512256Sess, QOPAuth, "", "2a0aad3f49b968f6db458d0c24fc8ee082d8ece69f3bd54f95ee45ea60dafdb8"},
		{SHA512256Sess, QOPAuthInt, "INVITE", "655f1bd6b1fe418a2352c1f4edf6d988c94dcb68238aa1d4497d1167583564cb"},
		{SHA512256Sess, QOPAuthInt, "", "483142e7a89479cce99c7644185286c6e5cbb90ef824e482b74445e325d87add"},
	}
	for _, tt := range tests {
		key := sessionKey(tt.alg, secret(tt.alg, "bob", "biloxi.com", "zanzibar"), "abc", "xyz")
		got := response(tt.alg, key, "abc", "00000001", "xyz", tt.qop, tt.method, "sip:bob@biloxi.com", []byte("v=0\r\n"))
		if got != tt.want {
			t.Errorf("%v qop=%q method=%q: %s, want %s", tt.alg, tt.qop, tt.method, got, tt.want)
		}
	}
}
