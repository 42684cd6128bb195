package main

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// writeCertificates writes what the parts of a control plane know each other by: an authority (ca), the API server as a
// client of extensions (aggregator), an extension (extension) under the names that it is asked for by, and the key that
// signs tokens of service accounts (service-accounts). Each is a .crt and a .key.
func writeCertificates(folder string, names []string) error {
	authorityKey, err := newKey(folder, "ca")
	if err != nil {
		return err
	}
	authority := template("ca")
	authority.IsCA = true
	authority.BasicConstraintsValid = true
	authority.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature
	if err := sign(folder, "ca", authority, authority, &authorityKey.PublicKey, authorityKey); err != nil {
		return err
	}
	for _, name := range []string{"aggregator", "extension", "service-accounts"} {
		key, err := newKey(folder, name)
		if err != nil {
			return err
		}
		certificate := template(name)
		certificate.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}
		if name == "extension" {
			certificate.DNSNames = names
			certificate.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
		}
		if err := sign(folder, name, certificate, authority, &key.PublicKey, authorityKey); err != nil {
			return err
		}
	}
	return nil
}

func template(name string) *x509.Certificate {
	number, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		number = big.NewInt(time.Now().UnixNano())
	}
	return &x509.Certificate{
		SerialNumber: number,
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(24 * time.Hour),
		KeyUsage:     x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
	}
}

func newKey(folder, name string) (*rsa.PrivateKey, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, err
	}
	return key, write(folder, name+".key", "RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(key))
}

func sign(folder, name string, certificate, parent *x509.Certificate, key *rsa.PublicKey, signer *rsa.PrivateKey) error {
	bytes, err := x509.CreateCertificate(rand.Reader, certificate, parent, key, signer)
	if err != nil {
		return err
	}
	return write(folder, name+".crt", "CERTIFICATE", bytes)
}

func write(folder, name, kind string, bytes []byte) error {
	text := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: bytes})
	return os.WriteFile(filepath.Join(folder, name), text, 0o600)
}
