//go:build tools
package peers
import (
 _ "k8s.io/kubernetes/cmd/kube-apiserver"
 _ "k8s.io/kubernetes/cmd/kube-controller-manager"
)
