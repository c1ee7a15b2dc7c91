{{/* Combinations of values that cannot work. All are reported in one message. Argument: root. */}}
{{- define "asr.validate" -}}
{{- $faults := list -}}
{{- $storage := .Values.storage -}}
{{- $staging := .Values.staging -}}
{{- if not (regexMatch "^[a-z]([-a-z0-9]*[a-z0-9])?$" (include "asr.fullname" .)) -}}
{{- $faults = append $faults (printf "no Service can be named %s; set fullnameOverride to a name that begins with a letter and consists of a-z, 0-9 and -" (include "asr.fullname" .)) -}}
{{- end -}}
{{- if not .Values.languages -}}
{{- $faults = append $faults "languages is empty; name at least one, e.g. --set languages.nl-nl.replicas=1" -}}
{{- end -}}
{{- if not .Values.packs.commonVersion -}}
{{- $faults = append $faults "packs.commonVersion is not set; set it to the version that your license names" -}}
{{- end -}}
{{- range $language, $own := .Values.languages -}}
{{- if not (or $.Values.packs.languageVersion (get (default dict $own) "version")) -}}
{{- $faults = append $faults (printf "the version of %s is not set; set packs.languageVersion or languages.%s.version" $language $language) -}}
{{- end -}}
{{- end -}}
{{- range include "asr.aheadSets" . | fromJsonArray -}}
{{- if not (or .version (hasKey $.Values.languages .language)) -}}
{{- $faults = append $faults (printf "the version of %s in staging.ahead is not set; set packs.languageVersion or languages.%s.version there" .language .language) -}}
{{- end -}}
{{- end -}}
{{- if not (or .Values.engine.image.tag .Values.engine.image.digest) -}}
{{- $faults = append $faults "engine.image.tag is not set; set it, or engine.image.digest, to the release of the engine" -}}
{{- end -}}
{{- if and (eq $storage.type "claim") (not (has "ReadWriteMany" $storage.claim.accessModes)) (not $storage.claim.singleNode) -}}
{{- $faults = append $faults "storage.claim.accessModes has no ReadWriteMany, but several pods use the claim, during an upgrade at least; use a class with ReadWriteMany, or storage.type=claimPerPod, or, if the cluster has a single node, storage.claim.singleNode=true" -}}
{{- end -}}
{{- if and $storage.takeOwnership (not (and .Values.podSecurityContext.runAsUser .Values.podSecurityContext.runAsGroup)) -}}
{{- $faults = append $faults "storage.takeOwnership needs podSecurityContext.runAsUser and runAsGroup, to whom it gives the volume; set them" -}}
{{- end -}}
{{- if and (eq $staging.mode "job") (ne $storage.type "claim") -}}
{{- $faults = append $faults (printf "staging.mode=job installs on one claim for all pods, but storage.type is %s; use storage.type=claim or staging.mode=init" $storage.type) -}}
{{- end -}}
{{- if and (eq $staging.mode "daemonSet") (ne $storage.type "hostPath") -}}
{{- $faults = append $faults (printf "staging.mode=daemonSet installs on each node, but storage.type is %s; use storage.type=hostPath or another staging.mode" $storage.type) -}}
{{- end -}}
{{- if and $staging.ahead (or (eq $storage.type "ephemeral") (and (eq $storage.type "hostPath") (ne $staging.mode "daemonSet"))) -}}
{{- $faults = append $faults (printf "staging.ahead is not possible with storage.type=%s and staging.mode=%s: nothing can install before the pods start; use a claim, or hostPath with staging.mode=daemonSet" $storage.type $staging.mode) -}}
{{- end -}}
{{- if and (eq $storage.type "hostPath") .Values.prune.enabled (ne $staging.mode "daemonSet") -}}
{{- $faults = append $faults "prune.enabled does not reach the directories of all nodes with staging.mode=init; use staging.mode=daemonSet or prune.enabled=false" -}}
{{- end -}}
{{- with .Values.source -}}
{{- if and .sas.existingSecret .sas.value -}}
{{- $faults = append $faults "source.sas.existingSecret and source.sas.value are both set; remove one" -}}
{{- end -}}
{{- if and .bundle.volume (or .url .anonymous) -}}
{{- $faults = append $faults "source.bundle and source.url (or source.anonymous) are both set; remove one" -}}
{{- end -}}
{{- if and .bundle.volume (not .bundle.path) -}}
{{- $faults = append $faults "source.bundle.path is not set; set it to the name of the bundle on the volume" -}}
{{- end -}}
{{- if and .registry.existingSecret (not (hasPrefix "oci://" .url)) -}}
{{- $faults = append $faults "source.registry.existingSecret is set, but source.url does not name a registry; set it to oci://HOST/PREFIX" -}}
{{- end -}}
{{- end -}}
{{- with .Values.license.platform -}}
{{- if and .existingSecret .existingConfigMap -}}
{{- $faults = append $faults "license.platform.existingSecret and license.platform.existingConfigMap are both set; remove one" -}}
{{- end -}}
{{- end -}}
{{- if and .Values.ingress.enabled (not .Values.ingress.host) -}}
{{- $faults = append $faults "ingress.host is not set; set it to the name that clients connect to" -}}
{{- end -}}
{{- if and .Values.httpRoute.enabled (not .Values.httpRoute.parentRefs) -}}
{{- $faults = append $faults "httpRoute.parentRefs is empty; name your Gateway, e.g. [{name: main, namespace: gateways}]" -}}
{{- end -}}
{{- with $faults -}}
{{- fail (printf "\n\n%s\n" (join "\n" .)) -}}
{{- end -}}
{{- end }}
