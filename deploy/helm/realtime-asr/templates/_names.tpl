{{/* Names, labels and images. Names are at most 36 characters, so that each name derived from them is valid. */}}

{{- define "asr.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 36 | trimSuffix "-" -}}
{{- end }}

{{- define "asr.fullname" -}}
{{- $name := include "asr.name" . -}}
{{- $combined := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{- default $combined .Values.fullnameOverride | replace "." "-" | trunc 36 | trimSuffix "-" -}}
{{- end }}

{{- define "asr.serviceAccountName" -}}
{{- default (ternary (include "asr.fullname" .) "default" .Values.serviceAccount.create) .Values.serviceAccount.name -}}
{{- end }}

{{- define "asr.gatewayName" -}}
{{- printf "%s-gateway" (include "asr.fullname" .) -}}
{{- end }}

{{- define "asr.claimName" -}}
{{- default (printf "%s-models" (include "asr.fullname" .)) .Values.storage.claim.existingClaim -}}
{{- end }}

{{- define "asr.sasSecretName" -}}
{{- default (printf "%s-sas" (include "asr.fullname" .)) .Values.source.sas.existingSecret -}}
{{- end }}

{{/* Labels that never change, for selectors and for templates of immutable objects. Argument: root, component, language (optional). */}}
{{- define "asr.selectorLabels" -}}
app.kubernetes.io/name: {{ include "asr.name" .root | quote }}
app.kubernetes.io/instance: {{ .root.Release.Name | quote }}
app.kubernetes.io/component: {{ .component }}
{{- with .language }}
realtime-asr/language: {{ . | quote }}
{{- end }}
{{- end }}

{{/* Metadata of an object: name, labels, annotations. Argument: root, component, name, language, annotations (optional). */}}
{{- define "asr.metadata" -}}
name: {{ .name | quote }}
labels:
  {{- include "asr.selectorLabels" . | nindent 2 }}
  app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
  app.kubernetes.io/managed-by: {{ .root.Release.Service }}
  helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
  {{- with .root.Values.commonLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with merge dict (default dict .annotations) .root.Values.commonAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Metadata of a pod template. Argument: root, component, language, labels, annotations (optional). */}}
{{- define "asr.podMetadata" -}}
labels:
  {{- include "asr.selectorLabels" . | nindent 2 }}
  {{- with merge dict (default dict .labels) .root.Values.commonLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with merge dict (default dict .annotations) .root.Values.commonAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Reference of an image. Argument: root, image. A digest replaces the tag; global.imageRegistry replaces each registry. */}}
{{- define "asr.image" -}}
{{- with default .image.registry .root.Values.global.imageRegistry }}{{ . }}/{{ end -}}
{{- .image.repository -}}
{{- if .image.digest }}@{{ .image.digest }}{{ else }}:{{ default .root.Chart.AppVersion .image.tag }}{{ end -}}
{{- end }}

{{- define "asr.testAnnotations" -}}
helm.sh/hook: test
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end }}
