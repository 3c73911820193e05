//go:build tools

// Package peers names the program that the bench builds to compare with.
package peers

import _ "k8s.io/kubernetes/cmd/kube-apiserver"
