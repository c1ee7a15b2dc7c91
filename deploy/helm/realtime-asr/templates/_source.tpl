{{/* The source of the packs: azure, registry, anonymous (a web server without a token) or bundle. Argument: root. */}}
{{- define "asr.sourceKind" -}}
{{- with .Values.source -}}
{{- if .bundle.volume }}bundle{{ else if hasPrefix "oci://" .url }}registry{{ else if .anonymous }}anonymous{{ else }}azure{{ end -}}
{{- end -}}
{{- end }}

{{/* The ports of source, mirrors and proxy, and those that the values add, as a JSON array. Argument: root. */}}
{{- define "asr.sourcePorts" -}}
{{- $ports := list -}}
{{- with .Values.source -}}
{{- range concat (list (default "https://default" .url)) .mirrors (compact (list .proxy.HTTPS_PROXY .proxy.HTTP_PROXY)) -}}
{{- $url := ternary . (printf "http://%s" .) (contains "://" .) | urlParse -}}
{{- if $url.host -}}
{{- $named := regexFind ":[0-9]+$" $url.host | trimPrefix ":" | int -}}
{{- $ports = append $ports (default (ternary 80 443 (eq $url.scheme "http")) $named) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- range .Values.networkPolicy.source.ports -}}
{{- $ports = append $ports (int .) -}}
{{- end -}}
{{- uniq $ports | toJson -}}
{{- end }}

{{/*
The environment of a container that installs packs. Secrets are mounted as directories, never by subPath: only then does
a new token reach a running pod. The kubelet takes up to two minutes for that, hence MODELS_TOKEN_SECONDS.
*/}}
{{- define "asr.sourceEnv" -}}
{{- $kind := include "asr.sourceKind" . -}}
{{- with .Values.source -}}
{{- if eq $kind "bundle" }}
- name: MODELS_URL
  value: {{ printf "/bundle/%s" .bundle.path | quote }}
{{- else if .url }}
- name: MODELS_URL
  value: {{ .url | quote }}
{{- end }}
{{- with .prefix }}
- name: MODELS_PREFIX
  value: {{ . | quote }}
{{- end }}
{{- with .mirrors }}
- name: MODELS_MIRRORS
  value: {{ join "," . | quote }}
{{- end }}
{{- with .registry.imagePath }}
- name: MODELS_IMAGE_PATH
  value: {{ . | quote }}
{{- end }}
{{- if eq $kind "azure" }}
- name: MODELS_SAS_TOKEN_FILE
  value: /run/secrets/models-sas/token
- name: MODELS_TOKEN_SECONDS
  value: "180"
{{- else if and (eq $kind "registry") .registry.existingSecret }}
- name: DOCKER_CONFIG
  value: /run/secrets/registry
{{- else if eq $kind "anonymous" }}
- name: MODELS_ANONYMOUS
  value: "yes"
{{- end }}
{{- if .allowHttp }}
- name: MODELS_ALLOW_HTTP
  value: "yes"
{{- end }}
{{- with .publicKeys }}
- name: MODELS_PUBLIC_KEY
  value: {{ join "," . | quote }}
{{- end }}
{{- if .ca.existingConfigMap }}
- name: MODELS_CA_FILE
  value: /run/ca/ca.pem
{{- end }}
{{- range $name, $value := .proxy }}
{{- with $value }}
- name: {{ $name }}
  value: {{ . | quote }}
{{- end }}
{{- end }}
{{- end }}
{{- with .Values.license }}
{{- if .engine.existingSecret }}
- name: REALTIME_LICENSE_FILE
  value: /config/license.dat
{{- end }}
{{- if or .platform.existingSecret .platform.existingConfigMap }}
- name: PLATFORM_LICENSE_FILE
  value: /config/license.json
{{- end }}
- name: MODELS_LICENSE_CHECKS
  value: {{ .checks }}
{{- end }}
{{- end }}

{{/* The mounts and volumes that the source needs. Argument: root. */}}
{{- define "asr.sourceMounts" -}}
{{- $kind := include "asr.sourceKind" . -}}
{{- if eq $kind "azure" }}
- name: models-sas
  mountPath: /run/secrets/models-sas
  readOnly: true
{{- else if and (eq $kind "registry") .Values.source.registry.existingSecret }}
- name: registry
  mountPath: /run/secrets/registry
  readOnly: true
{{- else if eq $kind "bundle" }}
- name: bundle
  mountPath: /bundle
  readOnly: true
{{- end }}
{{- if .Values.source.ca.existingConfigMap }}
- name: ca
  mountPath: /run/ca
  readOnly: true
{{- end }}
{{- end }}

{{- define "asr.sourceVolumes" -}}
{{- $kind := include "asr.sourceKind" . -}}
{{- with .Values.source -}}
{{- if eq $kind "azure" }}
- name: models-sas
  secret:
    secretName: {{ include "asr.sasSecretName" $ | quote }}
    optional: true # models-init explains a missing token, and needs none if the packs are installed
    defaultMode: 0440
    items:
      - key: {{ .sas.key | quote }}
        path: token
{{- else if and (eq $kind "registry") .registry.existingSecret }}
- name: registry
  secret:
    secretName: {{ .registry.existingSecret | quote }}
    optional: true # as above
    defaultMode: 0440
{{- else if eq $kind "bundle" }}
- name: bundle
  {{- toYaml .bundle.volume | nindent 2 }}
{{- end }}
{{- with .ca.existingConfigMap }}
- name: ca
  configMap:
    name: {{ . | quote }}
    items:
      - key: {{ $.Values.source.ca.key | quote }}
        path: ca.pem
{{- end }}
{{- end }}
{{- end }}

{{/* The licenses as files of one directory. Empty if the values name none. Argument: root. */}}
{{- define "asr.licenseVolume" -}}
{{- with .Values.license }}
{{- if or .engine.existingSecret .platform.existingSecret .platform.existingConfigMap }}
- name: license
  projected:
    defaultMode: 0440
    sources:
      {{- with .engine }}
      {{- if .existingSecret }}
      - secret:
          name: {{ .existingSecret | quote }}
          optional: true # models-init explains a missing license
          items:
            - key: {{ .key | quote }}
              path: license.dat
      {{- end }}
      {{- end }}
      {{- with .platform }}
      {{- if or .existingSecret .existingConfigMap }}
      - {{ ternary "secret" "configMap" (ne .existingSecret "") }}:
          name: {{ default .existingConfigMap .existingSecret | quote }}
          optional: true
          items:
            - key: {{ .key | quote }}
              path: license.json
      {{- end }}
      {{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- define "asr.licenseMount" -}}
{{- if include "asr.licenseVolume" . | trim }}
- name: license
  mountPath: /config
  readOnly: true
{{- end }}
{{- end }}
