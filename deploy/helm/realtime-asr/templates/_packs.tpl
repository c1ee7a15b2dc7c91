{{/*
Sets of packs. Each language has a set of its own: its pack, the common pack and, if there is one, the whisper pack.
Nothing in a pod depends on another language, so that adding or upgrading one does not restart the engines of others.
*/}}

{{/* The sets of all languages, as a JSON array. Argument: packs, languages. */}}
{{- define "asr.packSets" -}}
{{- $packs := .packs -}}
{{- $sets := list -}}
{{- range $language := keys .languages | sortAlpha -}}
{{- $own := default dict (get $.languages $language) -}}
{{- $set := dict "language" $language "version" (default $packs.languageVersion $own.version) "commonVersion" $packs.commonVersion -}}
{{- with $packs.whisperVariant -}}
{{- $set = merge $set (dict "whisperVariant" . "whisperVersion" (default $packs.commonVersion $packs.whisperVersion)) -}}
{{- end -}}
{{- $sets = append $sets $set -}}
{{- end -}}
{{- toJson $sets -}}
{{- end }}

{{/* The sets in use, as a JSON array. Argument: root. */}}
{{- define "asr.currentSets" -}}
{{- include "asr.packSets" (pick .Values "packs" "languages") -}}
{{- end }}

{{/* The sets of staging.ahead that are not in use yet, as a JSON array. Argument: root. */}}
{{- define "asr.aheadSets" -}}
{{- $current := include "asr.currentSets" . | fromJsonArray -}}
{{- $ahead := list -}}
{{- range .Values.staging.ahead -}}
{{- $values := mergeOverwrite (pick $.Values "packs" "languages" | deepCopy) (deepCopy .) -}}
{{- range include "asr.packSets" $values | fromJsonArray -}}
{{- if not (or (has . $current) (has . $ahead)) -}}
{{- $ahead = append $ahead . -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toJson $ahead -}}
{{- end }}

{{/* The environment that names a set. Argument: a set. */}}
{{- define "asr.setEnv" -}}
- name: REALTIME_LANGUAGES
  value: {{ .language | quote }}
{{- with .version }}
- name: REALTIME_LANGUAGE_VERSION
  value: {{ . | quote }}
{{- end }}
- name: REALTIME_COMMON_VERSION
  value: {{ .commonVersion | quote }}
{{- with .whisperVariant }}
- name: WHISPER_VARIANT
  value: {{ . | quote }}
{{- end }}
{{- with .whisperVersion }}
- name: WHISPER_VERSION
  value: {{ . | quote }}
{{- end }}
{{- end }}

{{/*
The engine's mounts: each pack of the set in its own directory, pinned to one version. An engine must not read the
link `current`: it could change under a running engine when another pod installs something else.
Argument: root, set.
*/}}
{{- define "asr.packMounts" -}}
{{- $packs := dict .set.language .set.version "common" .set.commonVersion -}}
{{- with .set.whisperVariant -}}
{{- $_ := set $packs (printf "whisper-%s" .) $.set.whisperVersion -}}
{{- end -}}
{{- range $name := keys $packs | sortAlpha }}
- name: models
  mountPath: {{ printf "%s/%s" $.root.Values.engine.modelsPath $name | quote }}
  subPath: {{ printf "packs/%s/%s" $name (get $packs $name) | quote }}
  readOnly: true
{{- end }}
{{- end }}

{{/* The environment that names the sets in use: of all languages, or of one. Argument: root, language (optional). */}}
{{- define "asr.allSetsEnv" -}}
{{- $languages := list -}}
{{- range include "asr.currentSets" .root | fromJsonArray -}}
{{- if or (not $.language) (eq $.language .language) -}}
{{- $languages = append $languages (printf "%s@%s" .language .version) -}}
{{- end -}}
{{- end -}}
{{- $first := include "asr.currentSets" .root | fromJsonArray | first -}}
{{- include "asr.setEnv" (merge (dict "language" (join "," $languages)) (omit $first "version")) -}}
{{- end }}
