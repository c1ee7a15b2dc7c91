{{/* The pod template of a language's engine, for a Deployment or a StatefulSet. Argument: root, set. */}}
{{- define "asr.engineTemplate" -}}
{{- $root := .root -}}
{{- $engine := .root.Values.engine -}}
{{- $own := default dict (get .root.Values.languages .set.language) -}}
{{- $installs := eq .root.Values.staging.mode "init" -}}
metadata:
  {{- include "asr.podMetadata" (dict "root" .root "component" "engine" "language" .set.language "labels" $engine.podLabels "annotations" $engine.podAnnotations) | nindent 2 }}
spec:
  {{- include "asr.podDefaults" .root | nindent 2 }}
  terminationGracePeriodSeconds: {{ $engine.terminationGracePeriodSeconds }}
  initContainers:
    {{- if $installs }}
    {{- with include "asr.takeOwnership" .root | trim }}
    {{- . | nindent 4 }}
    {{- end }}
    - {{ include "asr.modelsInit" (dict "root" .root "env" (include "asr.setEnv" .set) "name" "models-init" "args" (list "--stage") "installs" true) | nindent 6 | trim }}
    {{- else }}
    - {{ include "asr.modelsInit" (dict "root" .root "env" (include "asr.setEnv" .set) "name" "models-init" "args" (list "--wait" ($root.Values.modelsInit.waitSeconds | int | toString))) | nindent 6 | trim }}
    {{- end }}
    {{- if and .root.Values.lease.enabled (ne .root.Values.storage.type "ephemeral") }}
    - {{ include "asr.lease" . | nindent 6 | trim }}
    {{- end }}
  containers:
    - name: asr-server
      image: {{ include "asr.image" (dict "root" .root "image" $engine.image) }}
      imagePullPolicy: {{ $engine.image.pullPolicy }}
      env:
        - name: REALTIME_LANGUAGE
          value: {{ .set.language | quote }}
        {{- with concat $engine.extraEnv (default list $own.extraEnv) }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      ports:
        - name: ws
          containerPort: {{ $engine.port }}
      {{- range $name := list "startupProbe" "readinessProbe" "livenessProbe" "lifecycle" }}
      {{- with get $engine $name }}
      {{ $name }}:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- end }}
      terminationMessagePolicy: FallbackToLogsOnError
      securityContext:
        {{- toYaml .root.Values.securityContext | nindent 8 }}
      resources:
        {{- toYaml (default $engine.resources $own.resources) | nindent 8 }}
      volumeMounts:
        {{- include "asr.packMounts" . | trim | nindent 8 }}
        {{- with include "asr.licenseMount" .root | trim }}
        {{- . | nindent 8 }}
        {{- end }}
        - name: tmp
          mountPath: /tmp
        {{- with $engine.extraVolumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
    {{- with $engine.extraContainers }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- /* Not `merge`: a key that the language has replaces that of `engine`, also by an empty value. */}}
  {{- $placement := deepCopy $engine }}
  {{- range $name, $value := $own }}
  {{- $_ := set $placement $name $value }}
  {{- end }}
  {{- with include "asr.placement" $placement | trim }}
  {{- . | nindent 2 }}
  {{- end }}
  volumes:
    {{- with include "asr.volumes" (dict "root" .root "installs" $installs "license" true) }}
    {{- . | nindent 4 }}
    {{- end }}
    - name: tmp
      emptyDir:
        sizeLimit: 64Mi
    {{- with $engine.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end }}

{{/* Number of engines of a language; zero is a valid number. Argument: root, language. */}}
{{- define "asr.replicas" -}}
{{- $own := default dict (get .root.Values.languages .language) -}}
{{- ternary $own.replicas .root.Values.engine.replicas (hasKey $own "replicas") | int -}}
{{- end }}
