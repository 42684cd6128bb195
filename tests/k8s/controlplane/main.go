// A Kubernetes control plane and its command line in one file: the first argument says what of it.
//
//	controlplane etcd | kube-apiserver | kube-controller-manager | kubectl | certificates
package main

import (
	"fmt"
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	kubectl "k8s.io/kubectl/pkg/cmd"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	manager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
)

func main() {
	if len(os.Args) < 2 {
		fail("which of etcd, kube-apiserver, kube-controller-manager, kubectl and certificates?")
	}
	os.Args = os.Args[1:]
	switch os.Args[0] {
	case "etcd":
		etcdmain.Main(os.Args)
	case "kube-apiserver":
		os.Exit(cli.Run(apiserver.NewAPIServerCommand()))
	case "kube-controller-manager":
		os.Exit(cli.Run(manager.NewControllerManagerCommand()))
	case "kubectl":
		os.Exit(cli.Run(kubectl.NewDefaultKubectlCommand()))
	case "certificates":
		if len(os.Args) < 2 {
			fail("in which folder, and for which names of an extension?")
		}
		if err := writeCertificates(os.Args[1], os.Args[2:]); err != nil {
			fail(err.Error())
		}
	default:
		fail("there is no " + os.Args[0] + " here")
	}
}

func fail(text string) {
	fmt.Fprintln(os.Stderr, text)
	os.Exit(2)
}
