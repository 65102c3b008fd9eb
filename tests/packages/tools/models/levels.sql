select * from {{ ref('level_names') }} where level <= {{ var('levels') }}
