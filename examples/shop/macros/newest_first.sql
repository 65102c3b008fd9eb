{# The order in which versions of one thing were written, the newest first; a thing that came twice is taken once. #}
{% macro newest_first() %}updated_at desc, _load desc, _row desc{% endmacro %}
