use super::{model, says};

#[test]
fn a_list_can_be_changed_where_it_is_also_in_a_loop() {
    let sql = "{% set xs = [] %}{% for i in range(3) %}{% do xs.append(i * 2) %}{% endfor %}{% do xs.extend([7, 8]) %}\
               {% do xs.insert(0, 'a') %}{% do xs.remove(7) %}{{ xs }} {{ xs.pop() }} {{ xs.pop(0) }} {{ xs | length }} \
               {{ xs[-1] }} {{ xs[1:] }} {{ 2 in xs }} {{ xs == [0, 2, 4] }} {{ xs | join('-') }} {{ xs.index(4) }}";
    assert_eq!(model(sql).compiled(), "['a', 0, 2, 4, 8] 8 a 3 4 [2, 4] True True 0-2-4 2");
}

#[test]
fn a_map_can_be_changed_where_it_is_and_keeps_its_order() {
    let sql = "{% set m = {'z': 1, 'a': [1]} %}{% do m.update({'k': 2, 'z': 3}) %}{% do m['a'].append(5) %}\
               {% do m.setdefault('n', []).append('x') %}{{ m }} {{ m.pop('k') }} {{ m.pop('none', 'd') }} {{ m.z }} \
               {% for k, v in m.items() %}{{ k }}={{ v }};{% endfor %} {{ 'n' in m }} {{ m | length }} {{ m | tojson }}";
    assert_eq!(
        model(sql).compiled(),
        "{'z': 3, 'a': [1, 5], 'k': 2, 'n': ['x']} 2 d 3 z=3;a=[1, 5];n=['x']; True 3 {\"a\": [1, 5], \"n\": [\"x\"], \"z\": 3}"
    );
}

#[test]
fn what_an_operator_made_is_a_list_of_its_own_once_it_is_bound() {
    let sql = "{% set a = [1] %}{% set b = a + [2] %}{% do a.append(9) %}{% do b.append(3) %}{{ a }}{{ b }}\
               {% set c = 'x,y'.split(',') %}{% do c.append('z') %}{{ c }}{% set d = a %}{% do d.append(0) %}{{ a }}";
    assert_eq!(model(sql).compiled(), "[1, 9][1, 2, 3]['x', 'y', 'z'][1, 9, 0]");
    says(&model("{% do ([1] + [2]).append(3) %}").error(), &["`append` cannot change", "m.sql:1:18", "bind it first"]);
}

#[test]
fn a_list_of_one_rendering_is_not_that_of_the_next() {
    let files = model("{% set a = var('a') %}{% do a.append(1) %}{{ fill() }}{{ fill() }}{{ a }}{{ var('a') }}")
        .with("dbt_project.yml", "name: shop\nvars: {a: []}\n")
        .with("macros/f.sql", "{% macro fill(x=[]) %}{% do x.append(1) %}{{ x }}{% endmacro %}");
    assert_eq!(files.compiled(), "[1][1][1][]");
}

#[test]
fn tuples_print_as_sql_wants_them() {
    assert_eq!(
        model("x in {{ ('a', 'b') }} {% set t = ('a', \"it's\") %}{{ t }}").compiled(),
        "x in ('a', 'b') ('a', \"it's\")"
    );
}

#[test]
fn nothing_holds_itself() {
    says(&model("{% set a = [] %}{% do a.append([a]) %}").error(), &["cannot be put into itself", "m.sql:1:"]);
    says(&model("{% set a = {} %}{% set b = [a] %}{% do a.update({'b': b}) %}").error(), &["put into itself"]);
}

#[test]
fn the_column_of_an_error_behind_a_literal_is_the_one_that_was_written() {
    let e = model("{% set x = [1, {'é': 2}] %}{{ [x, {'a': nope}] }} {{ [3].nix() }}").error();
    says(&e, &["unknown method `nix` of [3]", "m.sql:1:"]);
    says(
        &model("select 1,\n  {{ f([1, 2], {'a': custmer}) }}{% set customer = 1 %}").error(),
        &["`f` is not defined", "m.sql:2:6"],
    );
    says(
        &model("{% set l = [1, 2] %}\n{{ [1, 2] }}{{ custmer }}").error(),
        &["`custmer` is not defined", "m.sql:2:16"],
    );
}

#[test]
fn json_and_yaml_go_both_ways_and_defaults_stand_in() {
    let sql = "{{ tojson({'b': [1, none, true], 'a': 'x'}) }}|{{ tojson({'b': 1, 'a': 2}, sort_keys=true) }}|\
               {{ fromjson('{\"a\": {\"b\": [1.5]}}')['a']['b'][0] }}|{{ fromjson('{', 'bad') }}|\
               {{ fromyaml('a: [1, 2]').a | length }}|{{ toyaml({'a': [1]}) }}|{{ fromjson('{', default=[]) }}";
    assert_eq!(
        model(sql).compiled(),
        "{\"b\": [1, null, true], \"a\": \"x\"}|{\"a\": 2, \"b\": 1}|1.5|bad|2|a:\n- 1\n|[]"
    );
    says(&model("{{ fromjson('{') }}").error(), &["this text is not JSON", "m.sql:1:4"]);
}

#[test]
fn sets_zips_and_digests_are_as_in_dbt() {
    let sql = "{% set s = set([1, 2, 2]) %}{% do s.add(3) %}{{ s }} {{ s | length }} {{ 2 in s }} {{ set(4, 'no') }} \
               {{ zip([1, 2], ['a', 'b', 'c']) }} {{ local_md5('hello') }} {{ diff_of_two_dicts({'K': ['a', 'B']}, {'k': ['b']}) }}";
    assert_eq!(
        model(sql).compiled(),
        "{1, 2, 3} 3 True no [(1, 'a'), (2, 'b')] 5d41402abc4b2a76b9719d911017c592 {'K': ['a']}"
    );
}

#[test]
fn modules_of_python_are_at_hand() {
    let sql = "{% set d = modules.datetime.datetime.strptime('2026-03-04 05:06', '%Y-%m-%d %H:%M') %}\
               {{ d.year }} {{ d }} {{ d.plus(days=-4).strftime('%Y%m%d') }} {{ d.date() }} {{ d.replace(day=1).isoformat() }} \
               {{ modules.pytz.timezone('Europe/Amsterdam').localize(d).isoformat() }} \
               {{ modules.re.sub('(a)(b)', '\\\\2\\\\1', 'abab') }} {{ modules.re.match('b', 'ab') is none }} \
               {{ modules.re.search('(?P<n>[0-9]+)', 'a12').group('n') }} {{ modules.re.findall('[a-z]', 'A1b2c') }} \
               {{ modules.re.match('a', 'A', modules.re.IGNORECASE) is not none }} \
               {{ modules.itertools.product([1, 2], ['a']) }} {{ modules.itertools.combinations([1, 2, 3], 2) | length }}";
    assert_eq!(
        model(sql).compiled(),
        "2026 2026-03-04 05:06:00 20260228 2026-03-04 2026-03-01T05:06:00 2026-03-04T05:06:00.000000+01:00 \
         baba True 12 ['b', 'c'] True [(1, 'a'), (2, 'a')] 3"
    );
}

#[test]
fn variables_can_be_asked_for_and_functions_tried() {
    let sql = "{{ var.has_var('x') }} {{ builtins.var('y', 1) }} {{ try_or_compiler_error('no', fromjson, '1') }}";
    assert_eq!(model(sql).compiled(), "False 1 1");
    says(&model("{{ try_or_compiler_error('it broke', fromjson, '{') }}").error(), &["it broke", "is not JSON"]);
    says(&model("{{ exceptions.raise_not_implemented('x') }}").error(), &["not implemented: x"]);
}

#[test]
fn small_helpers_are_as_in_dbt() {
    let sql = "{% set total = namespace(n=0) %}{% for i in range(1, 4) %}{% set total.n = total.n + i %}{% endfor %}\
               {{ total.n }} {{ dict(a=1)['a'] }} {{ set_strict([1, 1]) | length }} {{ zip_strict([1], [2]) | length }} \
               {{ dbt_version.split('.')[0] }}{{ print('said while rendering') }}";
    assert_eq!(model(sql).compiled(), "6 1 1 1 1");
    says(&model("{{ zip_strict([1], 2) }}").error(), &["models/m.sql:1:"]);
}
